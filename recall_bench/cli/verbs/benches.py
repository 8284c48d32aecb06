"""`bench`: measures speed against the theoretical floor."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recall_bench.cli import request
from recall_bench.cli.verbs.flags import Debug, Device, Plugins, PresetName


def bench_kernels(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder for table, record and plot.")
    ] = Path("results/kernels"),
    debug: Debug = False,
) -> None:
    """Check the kernels on a GPU, then compare their times with other kernels and the floor."""
    from recall_bench.bench.kernels import bench_kernels as run

    run(output)


def bench_training(
    arch: Annotated[
        str, typer.Option("--arch", help="Architectures, separated by commas.")
    ] = "based,attention,sliding-window,mamba",
    preset: PresetName = "figure2",
    device: Device = "auto",
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Folder for table and record.")
    ] = Path("results/training"),
    precision: Annotated[
        str | None, typer.Option(help="fp32, tf32 or bf16; overrides the preset.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Also time one whole run per architecture.")
    ] = True,
    cold: Annotated[
        bool,
        typer.Option(
            "--cold",
            help="Time one command per architecture instead, by phase: first with empty caches "
            "of kernels and data, then with full ones.",
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Time training steps by segment, data generation and whole runs; profile the steps."""
    if cold:
        from recall_bench.bench import start

        start.bench_start(request.split_names(arch), preset, device, output, precision)
        return
    from recall_bench.bench import training

    training.bench_training(
        request.architecture_names(arch), preset, device, output, run, precision
    )


def bench_tasks(plugin: Plugins = None, debug: Debug = False) -> None:
    """Time how fast every task generates its published examples on one core."""
    from recall_bench.bench.tasks import measure_all, table

    Console(highlight=False).print(table(measure_all()))
