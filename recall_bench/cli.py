"""The command line: thin verbs over the library.

The flags of `train`, `sweep` and `show` depend on the architecture and task that are named, so
the application is built for each call. Everything heavy is imported inside the verb that needs it.
"""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recall_bench import options, presets, registry
from recall_bench.config import ModelConfig, RunConfig, TrainingConfig
from recall_bench.errors import UserError
from recall_bench.options import Panel

TASK, RECIPE, BACKBONE = "Task options", "Training recipe", "Backbone"
KNOBS = "Knobs (values separated by commas are swept)"

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file that registers mixers or tasks."),
]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Where runs are kept.")]
TaskName = Annotated[str, typer.Option("--task", help="The task, see `recall-bench list`.")]
PresetName = Annotated[str, typer.Option("--preset", help=f"One of {', '.join(presets.PRESETS)}.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Processes = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="Runs at a time; one a GPU, or one a core."),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        app = build_app(words)
    except UserError as error:
        if "--debug" in words:
            raise
        _complain(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    app(args=words, prog_name="recall-bench")


def build_app(argv: Sequence[str]) -> typer.Typer:
    """The application for one command line; its flags follow the names in it."""
    app = typer.Typer(
        help="How well does a sequence-mixing layer recall, and what does that cost in memory?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for path in options.values_of(argv, "--plugin"):
        registry.load_plugin(path)
    verb = next((word for word in argv if not word.startswith("-")), "")
    panels = _panels(argv) if verb in ("train", "sweep") else []
    show_panels = [_task_panel(_shown_task(argv))] if verb == "show" else []

    app.command("list")(_guarded(list_everything))
    app.command("show")(_guarded(options.with_panels(show, show_panels)))
    app.command("train")(_guarded(options.with_panels(train, panels)))
    app.command("sweep")(_guarded(options.with_panels(sweep, panels)))
    app.command("plot")(_guarded(plot))
    app.command("report")(_guarded(report))
    app.command("check")(_guarded(check))
    app.command("export")(_guarded(export))
    app.command("doctor")(_guarded(doctor))
    return app


def _panels(argv: Sequence[str]) -> list[Panel]:
    names = [n for value in options.values_of(argv, "--arch") for n in value.split(",") if n]
    knobs = Panel(KNOBS, tuple(registry.architectures.get(name) for name in names))
    task = _task_panel((options.values_of(argv, "--task") or ["mqar"])[-1])
    fixed = frozenset({"learning_rate"})
    return [knobs, task, Panel(RECIPE, (TrainingConfig,), fixed), Panel(BACKBONE, (ModelConfig,))]


def _task_panel(name: str) -> Panel:
    return Panel(TASK, (registry.tasks.get(name),))


def _shown_task(argv: Sequence[str]) -> str:
    words = [word for word in argv[argv.index("show") + 1 :] if not word.startswith("-")]
    return words[0] if words else "mqar"


def _guarded(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a user's error into one message and exit code 2, and Ctrl-C into 130."""

    @wraps(verb)
    def run(**arguments: Any) -> None:
        debug = arguments.pop("debug", False)
        try:
            verb(**arguments)
        except UserError as error:
            if debug:
                raise
            _complain(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            if debug:
                raise
            raise typer.Exit(130) from None

    return run


def _complain(error: UserError) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print("[bold red]Error:[/] ", end="")
    print(error, file=sys.stderr)


def list_everything(debug: Debug = False) -> None:
    """Tasks, architectures with their knobs, and presets."""
    console = Console(highlight=False)
    for title, entries in (("Architectures", registry.architectures), ("Tasks", registry.tasks)):
        table = Table("name", "option", "type", "meaning", title=title, title_justify="left")
        for name in entries:
            fields = entries.get(name).model_fields
            for row, (field, info) in enumerate(fields.items()):
                table.add_row(
                    f"[bold]{name}[/]" if row == 0 else "",
                    options.flag_of(field),
                    options.type_name(info.annotation),
                    options.describe(info),
                    end_section=row == len(fields) - 1,
                )
        console.print(table)
    table = Table("name", "meaning", title="Presets", title_justify="left")
    for name, preset in presets.PRESETS.items():
        table.add_row(f"[bold]{name}[/]", preset.description)
    console.print(table)


def show(
    task: Annotated[str, typer.Argument(help="The task, such as mqar.")] = "mqar",
    preset: PresetName = "quick",
    plugin: Plugins = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the examples.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=20, help="Examples a segment.")] = 1,
    debug: Debug = False,
    *,
    given: dict[str, dict[str, str]],
) -> None:
    """Draw a few examples of a task: what is shown, what is asked, and the answers."""
    from recall_bench.tasks.render import render

    built = _task(task, presets.get(preset), given[TASK])
    render(built, Console(highlight=False), seed=seed, count=count)


def train(
    arch: Annotated[str, typer.Option("--arch", help="The architecture.")],
    task: TaskName = "mqar",
    preset: PresetName = "quick",
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, data and dropout.")] = 0,
    store: Store = Path("runs"),
    device: Device = "auto",
    plugin: Plugins = None,
    debug: Debug = False,
    *,
    given: dict[str, dict[str, str]],
) -> None:
    """Train one run, keep its record, and print the scores."""
    if "," in arch:
        raise UserError(f"`train` takes one architecture, got {arch!r}. Use `sweep` for several.")
    configs = _configs(arch, task, preset, [learning_rate], [seed], given)
    if len(configs) > 1:
        raise UserError(
            f"`train` takes one value a knob, got {len(configs)} settings. Use `sweep` for several."
        )
    _run(configs, store, device, 1, plugin, retry_failed=True)


def sweep(
    arch: Annotated[str, typer.Option("--arch", help="Architectures, separated by commas.")],
    task: TaskName = "mqar",
    preset: PresetName = "quick",
    learning_rates: Annotated[
        str | None, typer.Option(help="Peak learning rates, separated by commas.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many seeds (3: 0, 1, 2), or a list of them (0,5).")
    ] = None,
    store: Store = Path("runs"),
    processes: Processes = None,
    device: Device = "auto",
    retry_failed: Annotated[bool, typer.Option(help="Run failed runs again.")] = False,
    plugin: Plugins = None,
    debug: Debug = False,
    *,
    given: dict[str, dict[str, str]],
) -> None:
    """Cross knobs, learning rates and seeds; skip what is finished, continue what was cut off."""
    chosen = presets.get(preset)
    rates = _numbers(learning_rates, float, "--learning-rates") or chosen.learning_rates
    configs = _configs(arch, task, preset, rates, _seeds(seeds, chosen.seeds), given)
    _run(configs, store, device, processes, plugin, retry_failed)


def plot(
    output: Annotated[Path, typer.Option("--output", help="A .png, .svg or .pdf file.")],
    store: Annotated[Path, typer.Option("--store", help="A store, or an exported file.")] = Path(
        "runs"
    ),
    over: Annotated[
        Path | None, typer.Option(help="A store or exported file to draw these points on top of.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Which one, where there are several.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    annotate: Annotated[bool, typer.Option(help="Write the knobs beside the points.")] = False,
    debug: Debug = False,
) -> None:
    """Draw the recall-memory frontier of a store."""
    from recall_bench import plots

    fresh = _load(store)
    frame, highlight = (fresh, None) if over is None else (_load(over), fresh)
    figure = plots.plot_frontier(
        frame, title=title, highlight=highlight, experiment=experiment, annotate=annotate
    )
    plots.save(figure, output)
    print(f"Wrote {output}")


def check(
    subject: Annotated[str, typer.Argument(help="An architecture, a task, or a plugin file.")],
    debug: Debug = False,
) -> None:
    """Verify the contract of a mixer or task, built in or in a plugin file."""
    from recall_bench.testing import check_component

    console = Console(highlight=False)
    if subject.endswith(".py") or Path(subject).is_file():
        components = registry.registered_by(registry.load_plugin(subject))
    else:
        kind = registry.tasks if subject in registry.tasks.names() else registry.architectures
        components = [kind.get(subject)]
    failed = 0
    for component in components:
        result = check_component(component)
        console.print(result)
        failed += not result.passed
    if failed:
        raise typer.Exit(2)


def export(
    output: Annotated[Path, typer.Option("--output", help="A .jsonl or .parquet file.")],
    store: Store = Path("runs"),
    debug: Debug = False,
) -> None:
    """Pack every record of a store into one file."""
    from recall_bench import store as stores

    frame = _load(store)
    stores.export(frame, output)
    print(f"Wrote {len(frame)} records to {output}")


def doctor(debug: Debug = False) -> None:
    """Versions, devices, and which optional packages and kernels can be used, and why not."""
    from recall_bench.doctor import diagnose

    diagnose(Console(highlight=False))


def report(
    store: Store = Path("runs"),
    experiment: Annotated[
        str | None, typer.Option(help="Which one, where there are several.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Print every point of a store, with its interval, and which ones are on the frontier."""
    from recall_bench.report import points_table

    frame = _load(store)
    if experiment:
        frame = frame[frame["experiment"] == experiment]
    Console(highlight=False).print(points_table(frame))


def _run(
    configs: Sequence[RunConfig],
    store: Path,
    device: str,
    processes: int | None,
    plugins: Sequence[Path] | None,
    retry_failed: bool,
) -> None:
    """Carry the runs out, then print the points they make."""
    from recall_bench.executors import LocalExecutor
    from recall_bench.report import points_table
    from recall_bench.store import ResultStore
    from recall_bench.sweep import run_sweep

    _check_plugins(plugins or [])
    results = ResultStore(store)
    results.finished()
    _tell_skipped(results.skipped)
    executor = LocalExecutor(processes, device, plugins=plugins or [])
    summary = run_sweep(configs, results, executor, retry_failed=retry_failed)
    frame = results.frame()
    wanted = {config.run_id for config in configs}
    Console(highlight=False).print(points_table(frame[frame["run_id"].isin(wanted)]))
    if summary.failed:
        reasons = "; ".join(sorted({str(record.reason) for record in summary.failed}))
        raise UserError(
            f"{len(summary.failed)} of {summary.total} runs failed: {reasons}. "
            f"Their records are kept; --retry-failed runs them again."
        )


def _check_plugins(plugins: Sequence[Path]) -> None:
    """Refuse a plugin that breaks the contract before any time is spent on it."""
    from recall_bench.testing import check_component

    for path in plugins:
        for component in registry.registered_by(registry.load_plugin(path)):
            result = check_component(component)
            if not result.passed:
                raise UserError(f"The plugin {path} breaks the contract.\n{result}")


def _task(name: str, preset: presets.Preset, given: dict[str, str]) -> Any:
    from recall_bench.config import build

    texts = {field: options.parsed(text) for field, text in given.items()}
    return build(registry.tasks, {**preset.tasks.get(name, {}), **texts, "name": name})


def _configs(
    arch: str,
    task: str,
    preset: str,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    given: dict[str, dict[str, str]],
) -> list[RunConfig]:
    """The runs that a command line asks for."""
    from recall_bench.sweep import expand

    chosen = presets.get(preset)
    names = [name.strip() for name in arch.split(",") if name.strip()]
    knobs = {
        name: [part.strip() for part in text.split(",")] for name, text in given[KNOBS].items()
    }
    settings = []
    for name in names:
        known = registry.architectures.get(name).model_fields
        mine = {knob: values for knob, values in knobs.items() if knob in known}
        settings += [{"name": name, **s} for s in chosen.knob_settings(name, mine)]
    return expand(
        task=_task(task, chosen, given[TASK]),
        architectures=settings,
        model={**chosen.model, **given[BACKBONE]},
        training={**chosen.training, **{k: options.parsed(v) for k, v in given[RECIPE].items()}},
        learning_rates=learning_rates,
        seeds=seeds,
    )


def _numbers(text: str | None, kind: Callable[[str], Any], flag: str) -> list[Any]:
    if text is None:
        return []
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{flag} {text!r}: expected numbers separated by commas.") from None


def _seeds(text: str | None, default: int) -> list[int]:
    """Seeds 0 … N-1 for a single number N, else the list itself."""
    numbers = _numbers(text, int, "--seeds") or [default]
    if min(numbers) < 0 or numbers == [0]:
        raise UserError(f"--seeds {text!r}: expected a count of at least 1, or seeds from 0 on.")
    return list(range(numbers[0])) if len(numbers) == 1 else numbers


def _load(path: Path) -> Any:
    """The runs of a store or exported file; says what could not be read."""
    from recall_bench import store as stores

    frame, skipped = stores.load(path)
    _tell_skipped(skipped)
    if frame.empty:
        raise UserError(f"{path} holds no records. Run `recall-bench sweep` first.")
    return frame


def _tell_skipped(skipped: Sequence[tuple[Path, str]]) -> None:
    for where, why in skipped:
        print(f"Skipped {where}: {why}", file=sys.stderr)
