"""The command line: thin verbs over the library.

The flags of `train`, `sweep` and `show` depend on the architecture and task that are named, so
the application is built for each call. Everything heavy is imported inside the verb that needs it.
"""

import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from recall_bench import options, presets, registry, request
from recall_bench.config import RunConfig
from recall_bench.errors import UserError, nearest
from recall_bench.options import Panel

if TYPE_CHECKING:
    from recall_bench.testing import Report

UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])
"""The base of what typer raises for a command line that it cannot read."""

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Python file that registers mixers or tasks."),
]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Where runs are kept.")]
TASK_OPTION = typer.Option("--task", help="The task, see `recall-bench list`.")
TaskName = Annotated[str, TASK_OPTION]
OnlyTask = Annotated[str | None, typer.Option("--task", help="Leave out all other tasks.")]
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
    typer.Option("--processes", min=1, help="Runs at a time; one a GPU, or one a core."),
]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; ends in `SystemExit`, 2 for an error of the user's."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        app = build_app(words)
        sys.exit(app(args=words, prog_name="recall-bench", standalone_mode=False))
    except UserError as error:
        _complain(str(error), words)
    except UsageError as error:
        _complain(_usage(error), words)
    except KeyboardInterrupt:
        sys.exit(130)


def _complain(message: str, words: Sequence[str]) -> None:
    """Print one message, after the traceback if ``--debug`` was given, and exit with 2."""
    if "--debug" in words:
        traceback.print_exc()
    Console(stderr=True, highlight=False).print("[bold red]Error:[/] ", end="")
    print(message, file=sys.stderr)
    sys.exit(2)


def _usage(error: Any) -> str:
    """What was wrong with the words of the command line, and where to look."""
    message = error.format_message()
    if close := getattr(error, "possibilities", None):
        message = f"{error.message}. Did you mean {' or '.join(sorted(close))}?"
    path = error.ctx.command_path if error.ctx else "recall-bench"
    knobs = " --arch NAME" if path.endswith(("train", "sweep")) else ""
    return f"{message.rstrip('.')}{'' if close else '.'} See `{path}{knobs} --help`."


def build_app(argv: Sequence[str]) -> typer.Typer:
    """The application for one command line; its flags follow the names in it."""
    app = typer.Typer(
        help="How well does a sequence-mixing layer recall, and what does that cost in memory?",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for path in options.values_of(argv, "--plugin"):
        registry.load_plugin(path)
    panels = _panels(argv)
    app.command("list")(list_everything)
    app.command("show")(options.with_panels(show, panels[1:2]))
    app.command("train")(options.with_panels(train, panels))
    app.command("sweep")(options.with_panels(sweep, panels))
    app.command("plot")(plot)
    app.command("report")(report)
    app.command("check")(check)
    app.command("export")(export)
    app.command("import")(import_records)
    app.command("eval")(evaluate_model)
    benches = typer.Typer(help="Time what this machine does, beside the floor.")
    benches.command("kernels")(bench_kernels)
    benches.command("training")(bench_training)
    benches.command("tasks")(bench_tasks)
    app.add_typer(benches, name="bench", no_args_is_help=True)
    app.command("doctor")(doctor)
    return app


def _panels(argv: Sequence[str]) -> list[Panel]:
    """The flags that depend on the names in a command line."""
    verb = next((word for word in argv if not word.startswith("-")), "")
    if verb not in ("show", "train", "sweep"):
        return []
    names = [name for text in options.values_of(argv, "--arch") for name in request.listed(text)]
    task = (_shown(argv) if verb == "show" else options.values_of(argv, "--task")) or ["mqar"]
    preset = (options.values_of(argv, "--preset") or ["quick"])[-1]
    return request.panels(names, task[-1], preset, sweep=verb == "sweep")


def _shown(argv: Sequence[str]) -> list[str]:
    """The words of `show` that are neither flags nor their values."""
    words = argv[argv.index("show") :]
    return [
        word
        for last, word in pairwise(words)
        if not word.startswith("-") and (not last.startswith("--") or "=" in last)
    ][:1]


def list_everything(
    name: Annotated[
        str | None, typer.Argument(help="An architecture or task, to see its options alone.")
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Architectures with their knobs, tasks, suites and presets; or the options of one of them."""
    from recall_bench.catalogue import print_catalogue, print_entry

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
    count: Annotated[int, typer.Option(min=1, max=20, help="Examples a segment.")] = 1,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Draw a few examples of a task: what is shown, what is asked, and the answers."""
    from recall_bench.tasks.render import render

    built = request.build_task(task, presets.get(preset), given[request.TASK])
    render(built, Console(highlight=False), seed=seed, count=count)


def train(
    arch: Annotated[str, typer.Option("--arch", help="The architecture.")],
    task: TaskName = "mqar",
    preset: PresetName = "quick",
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, data and dropout.")] = 0,
    store: Store = Path("runs"),
    device: Device = "auto",
    keep_weights: KeepWeights = False,
    plugin: Plugins = None,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Train one run, keep its record, and print the scores."""
    if "," in arch:
        raise UserError(f"`train` takes one architecture, got {arch!r}. Use `sweep` for several.")
    rates = request.learning_rates(str(learning_rate), "--learning-rate")
    configs = request.build_runs(arch, task, preset, rates, [seed], given)
    if len(configs) > 1:
        raise UserError(
            f"`train` takes one value a knob, got {len(configs)} settings. Use `sweep` for several."
        )
    _run(configs, store, device, 1, plugin, retry_failed=True, keep_weights=keep_weights)


def sweep(
    arch: Annotated[str, typer.Option("--arch", help="Architectures, separated by commas.")],
    task: Annotated[str | None, TASK_OPTION] = None,
    suite: SuiteName = None,
    preset: Annotated[str | None, PRESET_OPTION] = None,
    learning_rates: Annotated[
        str | None, typer.Option(help="Peak learning rates, separated by commas.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many seeds (3: 0, 1, 2), or a list of them (0,5).")
    ] = None,
    store: Store = Path("runs"),
    processes: Processes = None,
    device: Device = "auto",
    keep_weights: KeepWeights = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed runs again.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Cross knobs, learning rates and seeds; skip what is finished, continue what was cut off."""
    rates = request.learning_rates(learning_rates, "--learning-rates")
    if suite:
        from recall_bench import suites

        if task or preset:
            raise UserError("A suite has tasks and a recipe of its own: leave --task and --preset.")
        found = suites.get(suite)
        numbers = request.seeds(seeds, found.seeds)
        configs = request.build_suite_runs(arch, found, rates, numbers, given)
        _run(configs, store, device, processes, plugin, retry_failed, suite, keep_weights)
        return
    task, preset = task or "mqar", preset or "quick"
    chosen = presets.get(preset)
    rates = rates or chosen.learning_rates
    configs = request.build_runs(
        arch, task, preset, rates, request.seeds(seeds, chosen.seeds), given
    )
    _run(configs, store, device, processes, plugin, retry_failed, keep_weights=keep_weights)


def evaluate_model(
    model: Annotated[
        str, typer.Option(help="A directory, a run of the store, or a name on the hub.")
    ],
    tasks: Annotated[str, typer.Option(help="Separated by commas.")] = "swde,fda,squad_completion",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Local copies of the data sets.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="First examples of each task; all.")] = None,
    context_length: Annotated[
        int | None,
        typer.Option(help="Cut documents around the answer, as published: 512 to 2048 tokens."),
    ] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Show each document twice.")] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens the model takes, where it does not say.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts at a time.")] = 1,
    dtype: Annotated[
        str, typer.Option(help="auto (as stored), float32, bfloat16 or float16.")
    ] = "auto",
    device: Device = "auto",
    store: Store = Path("runs"),
    trust_remote_code: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Let this model run code of its own.")
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Score an existing model on real documents, through lm-evaluation-harness."""
    from recall_bench.harness.extra import require

    require()
    from recall_bench.harness.evaluate import Request, evaluate
    from recall_bench.harness.quiet import quiet
    from recall_bench.report import points_tables
    from recall_bench.store import ResultStore, frame

    asked = Request.of(
        model=model,
        tasks=request.listed(tasks),
        data=data,
        limit=limit,
        context_length=context_length,
        twice=twice,
        max_length=max_length,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    told: list[str] = []
    with quiet():
        records = evaluate(asked, ResultStore(store), told.append)
    for said in told:
        print(said, file=sys.stderr)
    Console(highlight=False).print(points_tables(frame(records)))
    print(f"Records and examples are in {store}.")


def plot(
    output: Annotated[Path, typer.Option("--output", help="A .png, .svg or .pdf file.")],
    store: Annotated[Path, typer.Option("--store", help="A store, or an exported file.")] = Path(
        "runs"
    ),
    over: Annotated[
        Path | None, typer.Option(help="A store or exported file to draw these points on top of.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Accuracy against this instead: length, pairs, gap, …")
    ] = None,
    suite: SuiteName = None,
    task: OnlyTask = None,
    experiment: Annotated[
        str | None, typer.Option(help="Which one, where there are several.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Write the knobs beside the points.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Draw the recall-memory frontier of a store, scores by slice, or a suite's heat map."""
    from recall_bench import plots
    from recall_bench.plot_slices import plot_slices

    fresh = _load(store, task)
    if suite or by:
        if over or (suite and by):
            raise UserError("--suite, --by and --over draw different figures. Give one of them.")
        if suite:
            from recall_bench.suites.figure import heat_map

            heat_map(_grid(fresh, suite), output, title=title)
        else:
            plot_slices(fresh, by or "", output, experiment=experiment, title=title)
        print(f"Wrote {output}")
        return
    frame, highlight = (fresh, None) if over is None else (_load(over, task), fresh)
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
        kinds = (registry.architectures, registry.tasks)
        if not (kind := next((kind for kind in kinds if subject in kind.names()), None)):
            known = [name for kind in kinds for name in kind]
            raise UserError(
                f"Unknown architecture, task or file '{subject}'. {nearest(subject, known)}"
            )
        components = [kind.get(subject)]
    broken = []
    for component in components:
        result = check_component(component)
        console.print(result)
        broken += [result] if not result.passed else []
    if broken:
        raise UserError(" ".join(_breaks(result) for result in broken))


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


def import_records(
    file: Annotated[Path, typer.Argument(help="What `export` wrote: .jsonl or .parquet.")],
    store: Store = Path("runs"),
    debug: Debug = False,
) -> None:
    """Put exported records back into a store, so that a sweep goes on where they end."""
    from recall_bench import store as stores

    written, known = stores.restore(file, stores.ResultStore(store))
    print(f"Wrote {written} records to {store}; it had {known} already.")


def bench_kernels(
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Where table, record and plot go.")
    ] = Path("results/kernels"),
    debug: Debug = False,
) -> None:
    """Prove the kernels correct on a GPU, then time them beside others and the floor."""
    from recall_bench import bench

    bench.bench_kernels(output)


def bench_training(
    arch: Annotated[
        str, typer.Option("--arch", help="Architectures, separated by commas.")
    ] = "based,attention,sliding-window,mamba",
    preset: PresetName = "figure2",
    device: Device = "auto",
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Where table and record go.")
    ] = Path("results/training"),
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Also time one whole run of each.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Time training steps by segment, the generator, whole runs; profile them; show the floor."""
    from recall_bench import bench_training

    bench_training.bench_training(request.listed(arch), preset, device, output, run)


def bench_tasks(plugin: Plugins = None, debug: Debug = False) -> None:
    """How fast every task makes its published examples on one core."""
    from recall_bench.bench_tasks import measure_all, table

    Console(highlight=False).print(table(measure_all()))


def doctor(debug: Debug = False) -> None:
    """Versions, devices, and which optional packages and kernels can be used, and why not."""
    from recall_bench.doctor import diagnose

    diagnose(Console(highlight=False))


def report(
    store: Store = Path("runs"),
    experiment: Annotated[
        str | None, typer.Option(help="Which one, where there are several.")
    ] = None,
    suite: SuiteName = None,
    task: OnlyTask = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A suite's table in Markdown.")
    ] = False,
    published: Annotated[
        str | None,
        typer.Option(metavar="FIGURE", help="Beside published points, in Markdown: figure2."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print every point of a store, with its interval and the frontier, or a suite's table."""
    from recall_bench.report import points_tables

    frame = _load(store, task)
    if published:
        from recall_bench import published as figures

        print(figures.markdown(frame, published), end="")
        return
    if suite:
        from recall_bench.suites import report as suite_report

        grid = _grid(frame, suite)
        if markdown:
            print(suite_report.markdown(grid))
        else:
            Console(highlight=False).print(suite_report.table(grid))
        return
    names = sorted(set(frame["experiment"]))
    if experiment and experiment not in names:
        raise UserError(f"Unknown experiment '{experiment}'. {nearest(experiment, names)}")
    if experiment:
        frame = frame[frame["experiment"] == experiment]
    Console(highlight=False).print(points_tables(frame))


def _run(
    configs: Sequence[RunConfig],
    store: Path,
    device: str,
    processes: int | None,
    plugins: Sequence[Path] | None,
    retry_failed: bool,
    suite: str | None = None,
    keep_weights: bool = False,
) -> None:
    """Carry the runs out, then print the points they make, or the table of the suite."""
    from recall_bench.device import check_device
    from recall_bench.executors import LocalExecutor
    from recall_bench.report import points_tables
    from recall_bench.store import ResultStore
    from recall_bench.sweep import run_sweep

    _check_plugins(plugins or [])
    check_device(device, {config.training.precision for config in configs})
    _tell_data(configs)
    results = ResultStore(store)
    results.finished()
    _tell_skipped(results.skipped)
    executor = LocalExecutor(processes, device, plugins=plugins or [], keep_weights=keep_weights)
    summary = run_sweep(configs, results, executor, retry_failed=retry_failed)
    frame = results.frame()
    wanted = {config.run_id for config in configs}
    frame = frame[frame["run_id"].isin(wanted)]
    if suite:
        from recall_bench.suites.report import table

        shown = table(_grid(frame, suite))
    else:
        shown = points_tables(frame)
    Console(highlight=False).print(shown)
    before = f", {summary.before} of them before" if summary.before else ""
    diverged = f"; {summary.diverged} diverged" if summary.diverged else ""
    runs = "1 run" if summary.total == 1 else f"{summary.total} runs"
    print(f"{runs} done{before}{diverged}. Records are in {store}.")
    if summary.failed:
        reasons = {(record.reason or "").partition("\n")[0] for record in summary.failed}
        raise UserError(
            f"{len(summary.failed)} of {summary.total} runs failed: {'; '.join(sorted(reasons))}. "
            f"Their records are kept; --retry-failed runs them again."
        )


def _grid(frame: Any, name: str) -> Any:
    """The scores of a suite, from a table of runs."""
    from recall_bench import suites
    from recall_bench.suites.grid import grid

    suite = suites.get(name)
    return grid(suites.summary(suites.scores(frame, suite), suite), suite)


def _check_plugins(plugins: Sequence[Path]) -> None:
    """Refuse a plugin that breaks the contract before any time is spent on it."""
    from recall_bench.testing import check_component

    for path in plugins:
        for component in registry.registered_by(registry.load_plugin(path)):
            result = check_component(component)
            if not result.passed:
                raise UserError(f"{_breaks(result)} See `recall-bench check {path}`.")


def _breaks(result: "Report") -> str:
    """A broken contract in one line."""
    names = "; ".join(failure.property for failure in result.failures)
    return f"{result.subject!r} breaks the contract of {len(result.failures)} properties: {names}."


def _load(path: Path, task: str | None = None) -> Any:
    """The runs of a store or exported file, of one task or all; says what could not be read."""
    from recall_bench import store as stores

    frame, skipped = stores.load(path)
    _tell_skipped(skipped)
    if frame.empty:
        raise UserError(f"{path} holds no records. Run `recall-bench sweep` first.")
    known = sorted(set(frame["task"]))
    if task and task not in known:
        raise UserError(f"{path} has no runs of task '{task}'. {nearest(task, known)}")
    return frame[frame["task"] == task] if task else frame


def _tell_data(configs: Sequence[RunConfig]) -> None:
    """Print what the tasks that read data found in them, nothing left out silently."""
    for task in {config.task.model_dump_json(): config.task for config in configs}.values():
        for line in found.lines() if (found := task.report()) else ():
            print(f"{task.name}: {line}")


def _tell_skipped(skipped: Sequence[tuple[Path, str]]) -> None:
    for where, why in skipped:
        print(f"Skipped {where}: {why}", file=sys.stderr)
