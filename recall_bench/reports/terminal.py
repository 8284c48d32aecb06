"""The points of a store as tables for a terminal."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.frontier.ceilings import with_ceiling
from recall_bench.frontier.experiments import distinctions, varying
from recall_bench.frontier.pareto import frontier
from recall_bench.frontier.points import as_points
from recall_bench.frontier.segments import mean_of_segments
from recall_bench.frontier.selection import unmeasured

LEGEND = "★ on the frontier · recall on test, at the learning rate best on validation"
EXACT = "exact: answers of several tokens with every token right"


def points_tables(data: pd.DataFrame) -> Group:
    """One table per experiment, since only points of one experiment are comparable."""
    points = with_ceiling(as_points(data))
    experiments = [group for _, group in points.groupby("experiment")]
    differences = distinctions(points) if len(experiments) > 1 else {}
    parts: list[Table | Text] = []
    for group in experiments:
        name, task = group.iloc[0][["experiment", "task"]]
        if differences:
            parts.append(Text(f"Experiment {name}: {task} {differences[name]}".strip(), "italic"))
        parts += [_table(group), Text()]
    legend = [LEGEND, *[EXACT] * any(_exact_differs(group) for group in experiments)]
    return Group(*parts, *map(Text, legend))


def _table(points: pd.DataFrame) -> Table:
    """One row per point, by state size; a star marks those on the frontier."""
    points = points.sort_values(["state_bytes", "architecture", "knobs_key"])
    best = {run for runs in frontier(points)["run_ids"] for run in runs}
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("point", overflow="fold")
    limited = bool((points["recall_ceiling"] < 0.9995).any())
    spans = _exact_differs(points)
    headings = ["bytes", "recall", *["exact"] * spans, "95% interval", "seeds", "rate"]
    for heading in (*headings, *["limit"] * limited):
        table.add_column(heading, justify="right", no_wrap=True)
    names = {name: varying(family["knobs"]) for name, family in points.groupby("architecture")}
    for row, unknown in zip(points.to_dict("records"), unmeasured(points), strict=True):
        low, high = row["test_accuracy_low"], row["test_accuracy_high"]
        cells: list[str | Text] = [
            "★" if best.issuperset(row["run_ids"]) else "",
            Text(_name(row, names[row["architecture"]])),
            "not measured" if unknown else _number(row["state_bytes"], ",.0f"),
            _number(row["test_accuracy"], ".3f"),
            *[_number(mean_of_segments(row["segments"], "exact_match"), ".3f")] * spans,
            "" if pd.isna(low) else f"{low:.3f}–{high:.3f}",  # noqa: RUF001
            str(row["seeds"]),
            _number(row["learning_rate"], "g"),
        ]
        table.add_row(*cells, *[_number(row["recall_ceiling"], ".3f")] * limited)
    return table


def _name(row: Mapping[Any, Any], names: Collection[str]) -> str:
    """The architecture and those of its knobs that are in ``names``."""
    shown = [f"{name}={value}" for name, value in row["knobs"].items() if name in names]
    return " ".join([row["architecture"], *shown])


def _exact_differs(points: pd.DataFrame) -> bool:
    """Whether exact match differs from recall anywhere."""
    exact = [mean_of_segments(segments, "exact_match") for segments in points["segments"]]
    recall = points["test_accuracy"]
    return any(e is not None and abs(e - r) > 5e-4 for e, r in zip(exact, recall, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if pd.isna(value) else format(value, form)
