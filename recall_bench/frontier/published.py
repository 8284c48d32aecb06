"""Published points beside ours: Figure 2 of the Based paper (2402.18668).

Accuracies are read off the published figure, to about 0.005 to 0.01. Bytes are those of its axis:
Zoology's count, four bytes a number, which leaves out what it leaves out; ours are measured.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recall_bench.errors import UserError, nearest
from recall_bench.frontier.ceilings import recall_setting, window_limit, with_ceiling
from recall_bench.frontier.experiments import varying as differences
from recall_bench.frontier.intervals import heading_of
from recall_bench.frontier.points import as_points
from recall_bench.frontier.selection import unmeasured

CLOSE = 0.03
"""A difference that is larger needs an explanation."""


class Published(NamedTuple):
    """One point of a figure; ``knobs`` are those that tell it from its neighbours."""

    architecture: str
    knobs: Mapping[str, int]
    accuracy: float
    state_bytes: int


def _based(width: int, feature_dim: int, accuracy: float, kilobytes: float) -> Published:
    knobs = {"d_model": width, "feature_dim": feature_dim, "window": 0}
    return Published("based", knobs, accuracy, round(1000 * kilobytes))


FIGURE_2 = (
    _based(48, 8, 0.667, 9.4),
    _based(64, 8, 0.719, 12.5),
    _based(128, 8, 0.840, 24.8),
    _based(48, 16, 0.836, 30.6),
    _based(64, 16, 0.912, 40.5),
    _based(128, 16, 0.985, 80.5),
    _based(48, 24, 0.856, 64),
    _based(64, 24, 0.970, 85),
    _based(128, 24, 0.991, 169),
    *(
        Published("mamba", {"d_model": width, "d_state": 24}, accuracy, 16 * width * 24)
        for width, accuracy in ((64, 0.697), (128, 0.758), (256, 0.85))
    ),
    *(
        Published("h3", {"d_model": width}, accuracy, 2 * width * (width // 4) * 4)
        for width, accuracy in ((64, 0.189), (128, 0.248), (256, 0.247))
    ),
    *(Published("attention", {"d_model": w}, 1.0, 4 * 2 * w * 1024) for w in (64, 128)),
    *(
        Published(
            "sliding-window", {"d_model": 128, "window": window}, accuracy, 4 * 2 * 128 * window
        )
        for window, accuracy in (
            (8, 0.081),
            (16, 0.145),
            (32, 0.310),
            (64, 0.514),
            (128, 0.656),
            (256, 0.797),
            (512, 0.936),
            (1024, 1.0),
        )
    ),
)

FIGURES = {"figure2": FIGURE_2}

FIGURE_2_SETTING = (
    [(64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256)],
    4096,
)
"""Test segments as (length, pairs), and values: other settings do not compare."""


def compare(data: pd.DataFrame, figure: str = "figure2") -> pd.DataFrame:
    """Runs or points -> the points with what was published for them, by state bytes.

    Adds to the columns of `with_ceiling`: ``published`` and ``published_bytes``, NaN where there is
    none, ``difference`` (ours minus published), and ``window_ceiling``, the share of queries within
    reach where the model is windows and short convolutions alone. Raises `UserError` for an unknown
    figure.
    """
    points = _figure(figure)
    table = with_ceiling(as_points(data)).sort_values(["architecture", "state_bytes", "knobs_key"])
    rows = [(row, _find(points, row)) for row in table.to_dict("records")]
    known = [found.accuracy if found else np.nan for _, found in rows]
    counted = [found.state_bytes if found else None for _, found in rows]
    return table.assign(
        published=known,
        published_bytes=pd.array(counted, dtype="Float64"),
        difference=table["test_accuracy"].to_numpy() - np.asarray(known),
        window_ceiling=[_window(row) for row, _ in rows],
    ).reset_index(drop=True)


def points_of(figure: str) -> pd.DataFrame:
    """The published points: architecture, knobs, accuracy and state_bytes.

    Raises `UserError` for an unknown figure.
    """
    return pd.DataFrame(_figure(figure))


def _figure(name: str) -> tuple[Published, ...]:
    if name not in FIGURES:
        raise UserError(f"Unknown figure '{name}'. {nearest(name, FIGURES)}")
    return FIGURES[name]


def _find(figure: tuple[Published, ...], row: Mapping[Any, Any]) -> Published | None:
    if recall_setting(row) != FIGURE_2_SETTING:
        return None
    knobs = row["knobs"]
    for point in figure:
        if point.architecture == row["architecture"] and point.knobs.items() <= knobs.items():
            return point
    return None


def _window(row: Mapping[Any, Any]) -> float:
    setting = recall_setting(row)
    limit = None if setting is None else window_limit(row, setting[0])
    return np.nan if limit is None else limit


def markdown(data: pd.DataFrame, figure: str = "figure2") -> str:
    """`compare` as a table for a reader; every point, and what needs an explanation in bold."""
    table = compare(data, figure)
    interval = heading_of(table["interval"])
    lines = [
        f"| architecture | knobs | state bytes | recall | {interval} | seeds | race | published | "
        "difference | chosen on test | best possible | window's reach | efficiency |",
        "|" + " --- |" * 13,
    ]
    varying, without_state = _varying(table), unmeasured(table)
    for row, unknown in zip(table.to_dict("records"), without_state, strict=True):
        knobs = row["knobs"]
        far = abs(row["difference"]) > CLOSE
        cells = [
            row["architecture"],
            ", ".join(f"{knob} {knobs[knob]}" for knob in varying[row["architecture"]]),
            "not measured" if unknown else _number(row["state_bytes"], ",.0f"),
            _number(row["test_accuracy"], ".3f"),
            _interval(row, marked="*" in interval),
            _seeds(row),
            _race(row),
            _number(row["published"], ".3f"),
            _bold(_number(row["difference"], "+.3f"), far),
            _number(row["test_accuracy_chosen_on_test"], ".3f"),
            _number(row["recall_ceiling"], ".3f"),
            _number(row["window_ceiling"], ".3f"),
            _number(row["efficiency"], ".2%"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _interval(row: Mapping[Any, Any], marked: bool) -> str:
    low, high = row["test_accuracy_low"], row["test_accuracy_high"]
    if pd.isna(low):
        return ""
    return f"{low:.3f} to {high:.3f}" + "*" * (marked and row["interval"] != "range")


def _seeds(row: Mapping[Any, Any]) -> str:
    some = f", {row['learned']} learned" if row["learned"] < row["seeds"] else ""
    return f"{row['seeds']}{some}" + f", {row['unfinished']} failed" * (row["unfinished"] > 0)


def _race(row: Mapping[Any, Any]) -> str:
    """How many rates and seeds competed, in words."""
    if pd.isna(row["learning_rate"]):
        return ""
    seeds = "1 seed" if row["race_seeds"] == 1 else f"{row['race_seeds']} seeds"
    waits = "" if row["waiting"] == 0 else f", {row['waiting']} waiting"
    return f"{row['racing']} of {row['learning_rates']} rates, {seeds}{waits}"


def _varying(table: pd.DataFrame) -> dict[str, list[str]]:
    """For each architecture, the knobs that differ between its points, d_model always."""
    varying = {}
    for name, group in table.groupby("architecture"):
        differing = differences(group["knobs"])
        varying[str(name)] = [
            knob for knob in group["knobs"].iloc[0] if knob == "d_model" or knob in differing
        ]
    return varying


def _bold(text: str, wanted: bool) -> str:
    return f"**{text}**" if wanted else text


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)
