"""`train`, `sweep` and `eval`: the verbs that write records."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recall_bench.cli import request
from recall_bench.cli.verbs.checks import check_plugins
from recall_bench.cli.verbs.flags import (
    PRESET_OPTION,
    TASK_OPTION,
    Debug,
    Device,
    KeepWeights,
    Plugins,
    PresetName,
    Processes,
    Store,
    SuiteName,
    TaskName,
    Unchecked,
)
from recall_bench.cli.verbs.loading import print_skipped, suite_grid
from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.recipes import presets


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
    unchecked: Unchecked = False,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Train one run, store its record, and print the scores."""
    if "," in arch:
        raise UserError(f"`train` takes one architecture, got {arch!r}. Use `sweep` for several.")
    rates = request.learning_rates(str(learning_rate), "--learning-rate")
    request.check_seed(seed, "--seed")
    configs = request.build_runs(arch, task, preset, rates, [seed], given)
    if len(configs) > 1:
        raise UserError(
            f"`train` takes one value per knob, got {len(configs)} settings. "
            f"Use `sweep` for several."
        )
    _run(
        configs,
        store,
        device,
        1,
        plugin,
        retry_failed=True,
        keep_weights=keep_weights,
        unchecked=unchecked,
    )


def sweep(
    arch: Annotated[str, typer.Option("--arch", help="Architectures, separated by commas.")],
    task: Annotated[str | None, TASK_OPTION] = None,
    suite: SuiteName = None,
    preset: Annotated[str | None, PRESET_OPTION] = None,
    learning_rates: Annotated[
        str | None, typer.Option(help="Peak learning rates, separated by commas.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Number of seeds (3 means 0, 1, 2), or a list (0,5).")
    ] = None,
    seeds_at_best_rate: Annotated[
        bool,
        typer.Option(
            "--seeds-at-best-rate",
            help="Race the learning rates: after each seed, rates clearly below the best one on "
            "validation get no further seeds. Clearly: by 0.1 and by 2 deviations of seeds.",
        ),
    ] = False,
    store: Store = Path("runs"),
    processes: Processes = None,
    device: Device = "auto",
    keep_weights: KeepWeights = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed runs again.")
    ] = False,
    plugin: Plugins = None,
    unchecked: Unchecked = False,
    debug: Debug = False,
    *,
    given: request.Given,
) -> None:
    """Cross knobs, learning rates and seeds; skip finished runs and continue interrupted ones."""
    rates = request.learning_rates(learning_rates, "--learning-rates")
    if suite is not None:
        from recall_bench.recipes import suites

        if task or preset:
            raise UserError("A suite has its own tasks and recipe: omit --task and --preset.")
        definition = suites.get(suite)
        numbers = request.seeds(seeds, definition.seeds)
        configs = request.build_suite_runs(arch, definition, rates, numbers, given)
    else:
        task, preset = task or "mqar", preset or "quick"
        chosen = presets.get(preset)
        rates = rates or chosen.learning_rates
        numbers = request.seeds(seeds, chosen.seeds)
        configs = request.build_runs(arch, task, preset, rates, numbers, given)
    _run(
        configs,
        store,
        device,
        processes,
        plugin,
        retry_failed,
        suite,
        keep_weights,
        seeds_at_best_rate,
        unchecked,
    )


def evaluate_model(
    model: Annotated[
        str, typer.Option(help="A directory, a run of the store, or a name on the hub.")
    ],
    tasks: Annotated[str, typer.Option(help="Separated by commas.")] = "swde,fda,squad_completion",
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Local copies of the data sets.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first examples of each task.")] = None,
    context_length: Annotated[
        int | None,
        typer.Option(help="Crop documents around the answer, as published: 512 to 2048 tokens."),
    ] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Show each document twice.")] = False,
    max_length: Annotated[
        int | None, typer.Option(help="Context length, for models that do not declare one.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts per batch.")] = 1,
    dtype: Annotated[
        str, typer.Option(help="auto (as stored), float32, bfloat16 or float16.")
    ] = "auto",
    device: Device = "auto",
    store: Store = Path("runs"),
    trust_remote_code: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Allow this model to run its own code.")
    ] = None,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Score an existing model on real documents, through lm-evaluation-harness."""
    from recall_bench.evals.harness.extra import require

    require()
    from recall_bench.evals.harness.evaluate import Request, evaluate
    from recall_bench.evals.harness.quiet import quiet
    from recall_bench.reports.terminal import points_tables
    from recall_bench.store.runs import ResultStore
    from recall_bench.store.table import frame

    evaluation = Request.of(
        model=model,
        tasks=request.split_names(tasks),
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
    warnings: list[str] = []
    with quiet():
        records = evaluate(evaluation, ResultStore(store), warnings.append)
    for message in warnings:
        print(message, file=sys.stderr)
    Console(highlight=False).print(points_tables(frame(records)))
    print(f"Records and examples are in {store}.")


def _run(
    configs: Sequence[RunConfig],
    store: Path,
    device: str,
    processes: int | None,
    plugins: Sequence[Path] | None,
    retry_failed: bool,
    suite: str | None = None,
    keep_weights: bool = False,
    seeds_at_best_rate: bool = False,
    unchecked: bool = False,
) -> None:
    """Carry out the runs, then print their points or the table of the suite."""
    from recall_bench.reports.terminal import points_tables
    from recall_bench.store.runs import ResultStore
    from recall_bench.sweeps import other_code
    from recall_bench.sweeps.carry_out import Summary, run_sweep
    from recall_bench.sweeps.local import LocalExecutor
    from recall_bench.sweeps.racing import run_race

    verified = check_plugins(plugins or [], configs, store, unchecked)
    _print_data_reports(configs)
    results = ResultStore(store)
    results.finished()
    print_skipped(results.skipped)

    def carry_out(configs: Sequence[RunConfig]) -> Summary:
        executor = LocalExecutor(
            processes,
            device,
            plugins=plugins or [],
            keep_weights=keep_weights,
            verified=verified,
        )
        return run_sweep(configs, results, executor, retry_failed=retry_failed)

    if seeds_at_best_rate:
        summary = run_race(configs, results.frame, carry_out)
    else:
        summary = carry_out(configs)
    frame = results.frame()
    frame = frame[frame["run_id"].isin({config.run_id for config in configs})]
    if suite:
        from recall_bench.reports.suite_tables import table

        tables = table(suite_grid(frame, suite))
    else:
        tables = points_tables(frame)
    Console(highlight=False).print(tables)
    before = f", {summary.before} of them before" if summary.before else ""
    diverged = f"; {summary.diverged} diverged" if summary.diverged else ""
    runs = "1 run" if summary.total == 1 else f"{summary.total} runs"
    print(f"{runs} done{before}{diverged}. Records are in {store}.")
    if edited := other_code.note(configs, results):
        print(edited)
    if summary.failed:
        reasons = {(record.reason or "").partition("\n")[0] for record in summary.failed}
        raise UserError(
            f"{len(summary.failed)} of {summary.total} runs failed: {'; '.join(sorted(reasons))}. "
            f"Their records are stored; --retry-failed runs them again."
        )


def _print_data_reports(configs: Sequence[RunConfig]) -> None:
    """Print the reports of the tasks on their data, with warnings."""
    for task in {config.task.model_dump_json(): config.task for config in configs}.values():
        for line in data.lines() if (data := task.report()) else ():
            print(f"{task.name}: {line}")
