"""Flags shared by several verbs."""

from pathlib import Path
from typing import Annotated

import typer

from recall_bench.recipes import presets

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file that registers mixers or tasks."),
]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Directory of the runs.")]
TASK_OPTION = typer.Option("--task", help="The task, see `recall-bench list`.")
TaskName = Annotated[str, TASK_OPTION]
OnlyTask = Annotated[str | None, typer.Option("--task", help="Read only runs of this task.")]
SuiteName = Annotated[
    str | None, typer.Option("--suite", help="A suite of tasks, see `recall-bench list`.")
]
PRESET_OPTION = typer.Option("--preset", help=f"One of {', '.join(presets.PRESETS)}.")
PresetName = Annotated[str, PRESET_OPTION]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
KeepWeights = Annotated[
    bool, typer.Option("--keep-weights", help="Keep the weights of finished runs, for `eval`.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, help="Concurrent runs; by default several per GPU, or one per core."
    ),
]
Unchecked = Annotated[
    bool,
    typer.Option("--unchecked", help="Skip the contract check of plugins; records state it."),
]
