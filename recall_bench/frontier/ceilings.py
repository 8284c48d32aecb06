"""Upper bounds of the recall of points, from `recall_bench.bounds` and the records' options."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from recall_bench import bounds, registry
from recall_bench.config import build
from recall_bench.errors import UserError
from recall_bench.frontier.points import as_points
from recall_bench.frontier.segments import mean_of_segments, on_test

Setting: TypeAlias = tuple[list[Any], int]
"""The inputs of the information bound: segments of (length, pairs), and the number of values."""


def with_ceiling(
    table: pd.DataFrame, segments: Iterable[Any] | None = None, values: int | None = None
) -> pd.DataFrame:
    """`points` with ``recall_ceiling`` and ``efficiency``, both for values distinct within a row.

    The ceiling is `bounds.mean_recall_ceiling` at 8 bits a byte of state; the efficiency is the
    fewest bits that allow the point's recall over the bits it carries. ``segments`` of
    (length, pairs) and ``values`` are read from the points where they are MQAR's; other points
    get NaN.
    """
    table = as_points(table).copy()
    listed = None if segments is None else list(segments)
    ceilings, efficiencies = [], []
    for row in table.to_dict("records"):
        setting = recall_setting(row) if listed is None or values is None else (listed, values)
        state_bits, recall = 8 * row["state_bytes"], row["test_accuracy"]
        if setting is None or not state_bits > 0:
            ceilings.append(np.nan)
            efficiencies.append(np.nan)
            continue
        ceilings.append(bounds.mean_recall_ceiling(state_bits, *setting, replacement=False))
        needed = bounds.mean_required_bits(recall, *setting, replacement=False)
        efficiencies.append(needed / state_bits)
    return table.assign(recall_ceiling=ceilings, efficiency=efficiencies)


def recall_setting(row: Mapping[Any, Any]) -> tuple[list[tuple[int, int]], int] | None:
    """MQAR's test segments as (length, pairs) and its number of values; None for other tasks."""
    segments = on_test(row["segments"])
    if row["task"] != "mqar" or not segments:
        return None
    vocabulary = row["task_options"]["vocab_size"]
    listed = [(segment["length"], segment["options"]["pairs"]) for segment in segments]
    return listed, vocabulary - vocabulary // 2


def window_limit(row: Mapping[Any, Any], segments: Iterable[Any]) -> float | None:
    """The ceiling of a stack of windows, mean over the test segments; None for other points.

    The records hold it, except older ones. For those of MQAR it is `bounds.window_ceiling` over
    ``segments``, which leaves guesses out.
    """
    if (recorded := mean_of_segments(row["segments"], "window_ceiling")) is not None:
        return recorded
    reach = _reach(row["architecture"], row["knobs"]) if row["task"] == "mqar" else None
    if reach is None:
        return None
    options = row["task_options"]
    power, repeats = options.get("power_a", 0.01), options.get("repeats", 1)
    return float(bounds.window_ceiling(reach, segments, power, repeats=repeats))


def _reach(architecture: str, knobs: Mapping[str, Any]) -> int | None:
    """Tokens that the stack of a point sees; None without a limit or without its plugin."""
    try:
        windows = build(registry.architectures, {**knobs, "name": architecture}).windows()
    except (UserError, ValueError):  # the knobs of a plugin that is not installed, or has changed
        return None
    return bounds.reach(windows)
