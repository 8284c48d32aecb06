"""The points of a store as tables for a terminal."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.frontier.ceilings import with_ceiling
from recall_bench.frontier.experiments import distinctions, varying
from recall_bench.frontier.intervals import PLATEAU_GAP, heading_of
from recall_bench.frontier.pareto import standing
from recall_bench.frontier.points import STILL_FALLING, as_points, not_converged
from recall_bench.frontier.segments import mean_of_segments
from recall_bench.frontier.selection import unmeasured

STARS = {"clear": "★", "within noise": "☆", "": ""}
LEGEND = "★ on the frontier · recall on test, at the learning rate that won on validation"
HOLLOW = "☆ on the frontier, but no clearer than the noise of a point that is no larger"
RACE = "race 3/4×2: of 4 rates, 3 are still in the race and were compared on 2 seeds"  # noqa: RUF001
WAITING = "… a rate in the race waits for runs: the point may still change"
LEARNED = f"seeds 2/3: of 3 seeds 2 learned; a gap of {PLATEAU_GAP:g}, our choice, tells them apart"
FALLING = (
    f"↓ not converged: the validation loss still fell by more than {STILL_FALLING:g} nats in the "
    f"last quarter of training"
)
FAILED = "! runs failed and are not averaged; `sweep --retry-failed` runs them again"
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
    return Group(*parts, *map(Text, _legend(points, experiments)))


def _legend(points: pd.DataFrame, experiments: list[pd.DataFrame]) -> list[str]:
    """The marks that occur, explained."""
    lines = {
        LEGEND: True,
        HOLLOW: (standing(points) == "within noise").any(),
        RACE: points["learning_rate"].notna().any(),
        WAITING: (points["waiting"] > 0).any(),
        FALLING: not_converged(points).any(),
        LEARNED: (points["learned"] < points["seeds"]).any(),
        FAILED: (points["unfinished"] > 0).any(),
        EXACT: any(_exact_differs(group) for group in experiments),
    }
    return [line for line, shown in lines.items() if shown]


def _table(points: pd.DataFrame) -> Table:
    """One row per point, by state size; a star marks those on the frontier."""
    points = points.sort_values(["state_bytes", "architecture", "knobs_key"])
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("point", overflow="fold")
    limited = bool((points["recall_ceiling"] < 0.9995).any())
    spans = _exact_differs(points)
    interval = heading_of(points["interval"])
    headings = ["bytes", "recall", *["exact"] * spans, interval, "seeds", "rate", "race"]
    for heading in (*headings, *["limit"] * limited):
        table.add_column(heading, justify="right", no_wrap=True)
    names = {name: varying(family["knobs"]) for name, family in points.groupby("architecture")}
    rows = zip(
        points.to_dict("records"),
        unmeasured(points),
        standing(points),
        not_converged(points),
        strict=True,
    )
    for row, unknown, star, falling in rows:
        cells: list[str | Text] = [
            STARS[star],
            Text(_name(row, names[row["architecture"]])),
            "not measured" if unknown else _number(row["state_bytes"], ",.0f"),
            _number(row["test_accuracy"], ".3f") + "↓" * falling,
            *[_number(mean_of_segments(row["segments"], "exact_match"), ".3f")] * spans,
            _interval(row, marked="*" in interval),
            _seeds(row),
            _number(row["learning_rate"], ".3g"),
            _race(row),
        ]
        table.add_row(*cells, *[_number(row["recall_ceiling"], ".3f")] * limited)
    return table


def _name(row: Mapping[Any, Any], names: Collection[str]) -> str:
    """The architecture and those of its knobs that are in ``names``."""
    shown = [f"{name}={value}" for name, value in row["knobs"].items() if name in names]
    return " ".join([row["architecture"], *shown])


def _interval(row: Mapping[Any, Any], marked: bool) -> str:
    low, high = row["test_accuracy_low"], row["test_accuracy_high"]
    if pd.isna(low):
        return ""
    return f"{low:.3f}–{high:.3f}" + "*" * (marked and row["interval"] != "range")  # noqa: RUF001


def _seeds(row: Mapping[Any, Any]) -> str:
    learned = f"{row['learned']}/" if row["learned"] < row["seeds"] else ""
    return f"{learned}{row['seeds']}" + "!" * (row["unfinished"] > 0)


def _race(row: Mapping[Any, Any]) -> str:
    """How many rates and seeds competed; empty for an evaluation, which has no rate."""
    if pd.isna(row["learning_rate"]):
        return ""
    rates = f"{row['racing']}/{row['learning_rates']}"
    return f"{rates}×{row['race_seeds']}" + "…" * (row["waiting"] > 0)  # noqa: RUF001


def _exact_differs(points: pd.DataFrame) -> bool:
    """Whether exact match differs from recall anywhere."""
    exact = [mean_of_segments(segments, "exact_match") for segments in points["segments"]]
    recall = points["test_accuracy"]
    return any(e is not None and abs(e - r) > 5e-4 for e, r in zip(exact, recall, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if pd.isna(value) else format(value, form)
