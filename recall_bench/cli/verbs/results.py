"""`plot`, `report`, `export` and `import`: the verbs that read records."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recall_bench.cli.verbs.flags import Debug, OnlyTask, Store, SuiteName
from recall_bench.cli.verbs.loading import load_records, load_runs, print_skipped, suite_grid
from recall_bench.errors import UserError, nearest


def plot(
    output: Annotated[Path, typer.Option("--output", help="A .png, .svg or .pdf file.")],
    store: Annotated[Path, typer.Option("--store", help="A store, or an exported file.")] = Path(
        "runs"
    ),
    over: Annotated[
        Path | None, typer.Option(help="A store or exported file; its points form the background.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Plot accuracy against this: length, pairs, gap, …")
    ] = None,
    suite: SuiteName = None,
    task: OnlyTask = None,
    experiment: Annotated[
        str | None, typer.Option(help="The experiment, if there are several.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the figure.")] = None,
    annotate: Annotated[
        bool, typer.Option("--annotate", help="Write the knobs beside the points.")
    ] = False,
    published: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Also draw published points: figure2.")
    ] = None,
    efficiency: Annotated[
        bool,
        typer.Option("--efficiency", help="Show recalled bits per bit of state."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Draw the recall-memory frontier of a store, scores by slice, or a suite's heat map."""
    from recall_bench.frontier.published import points_of
    from recall_bench.reports.frontier_figure import plot_frontier, save
    from recall_bench.reports.slices_figure import plot_slices

    fresh = load_runs(store, task)
    if suite or by:
        if over or (suite and by):
            raise UserError(
                "--suite, --by and --over draw different figures. Use only one of them."
            )
        if suite:
            from recall_bench.reports.suite_figure import heat_map

            heat_map(suite_grid(fresh, suite), output, title=title)
        else:
            plot_slices(fresh, by or "", output, experiment=experiment, title=title)
        print(f"Wrote {output}")
        return
    frame, highlight = (fresh, None) if over is None else (load_runs(over, task), fresh)
    figure = plot_frontier(
        frame,
        title=title,
        highlight=highlight,
        experiment=experiment,
        annotate=annotate,
        published=points_of(published) if published else None,
        efficiency=efficiency,
    )
    save(figure, output)
    print(f"Wrote {output}")


def report(
    store: Store = Path("runs"),
    experiment: Annotated[
        str | None, typer.Option(help="The experiment, if there are several.")
    ] = None,
    suite: SuiteName = None,
    task: OnlyTask = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a suite's table in Markdown.")
    ] = False,
    published: Annotated[
        str | None,
        typer.Option(metavar="FIGURE", help="Compare with published points, in Markdown: figure2."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print every point of a store, with its interval and the frontier, or a suite's table."""
    from recall_bench.reports.terminal import points_tables

    frame = load_runs(store, task)
    if published:
        from recall_bench.frontier.published import markdown as published_table

        print(published_table(frame, published), end="")
        return
    if suite:
        from recall_bench.reports import suite_tables

        grid = suite_grid(frame, suite)
        if markdown:
            print(suite_tables.markdown(grid))
        else:
            Console(highlight=False).print(suite_tables.table(grid))
        return
    names = sorted(set(frame["experiment"]))
    if experiment and experiment not in names:
        raise UserError(f"Unknown experiment '{experiment}'. {nearest(experiment, names)}")
    if experiment:
        frame = frame[frame["experiment"] == experiment]
    Console(highlight=False).print(points_tables(frame))


def export(
    output: Annotated[Path, typer.Option("--output", help="A .jsonl or .parquet file.")],
    store: Store = Path("runs"),
    debug: Debug = False,
) -> None:
    """Pack every record of a store into one file."""
    from recall_bench import store as stores

    frame = load_records(store)
    stores.export(frame, output)
    print(f"Wrote {len(frame)} records to {output}")


def import_records(
    file: Annotated[Path, typer.Argument(help="A file from `export`: .jsonl or .parquet.")],
    store: Store = Path("runs"),
    debug: Debug = False,
) -> None:
    """Restore exported records to a store, so that a sweep continues from them."""
    from recall_bench import store as stores

    done = stores.restore(file, stores.ResultStore(store))
    print_skipped(done.skipped)
    repeated = f" {done.repeated} of its records repeat others." if done.repeated else ""
    print(f"Wrote {done.written} records to {store}; it had {done.present} already.{repeated}")
    if done.skipped and not (done.written or done.present):
        raise UserError(f"{file} holds no record that can be restored.")
