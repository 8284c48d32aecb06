"""`list`, `show` and `doctor`: list the components, and diagnose this machine."""

from typing import Annotated

import typer
from rich.console import Console

from recall_bench.cli import request
from recall_bench.cli.verbs.flags import Debug, Plugins, PresetName
from recall_bench.recipes import presets


def list_everything(
    name: Annotated[
        str | None, typer.Argument(help="An architecture or task whose options to list.")
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """List architectures with their knobs, tasks, suites and presets, or one entry's options."""
    from recall_bench.cli.catalogue import print_catalogue, print_entry

    console = Console(highlight=False)
    if name:
        print_entry(console, name)
    else:
        print_catalogue(console)


def show(
    task: Annotated[str, typer.Argument(help="The task, such as mqar.")] = "mqar",
    preset: PresetName = "quick",
    plugin: Plugins = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the examples.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=20, help="Examples per segment.")] = 1,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Explain a task and draw a few examples with their queries and answers."""
    from recall_bench.cli.render import render

    request.check_seed(seed, "--seed")
    built = request.build_task(task, presets.get(preset), given[request.TASK])
    render(built, Console(highlight=False), seed=seed, count=count)


def doctor(debug: Debug = False) -> None:
    """Show versions, devices, and which optional packages and kernels work here, or why not."""
    from recall_bench.cli.doctor import diagnose

    diagnose(Console(highlight=False))
