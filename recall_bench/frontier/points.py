"""Points: pure functions of a table of runs.

The table has one row a run, with the columns of `recall_bench.store.table`. A point is one
architecture at one knob setting within one experiment (task, backbone and recipe).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recall_bench.errors import UserError
from recall_bench.frontier.intervals import interval, learned
from recall_bench.frontier.segments import mean_segments, mean_slices
from recall_bench.frontier.selection import KEY, NO_RATE, SEARCHED, choose_rates, scored
from recall_bench.store.table import nested


def points(frame: pd.DataFrame, searched: Sequence[str] = SEARCHED) -> pd.DataFrame:
    """One row per point: the learning rate chosen on validation, scored on test, over seeds.

    - The learning rate wins the `race` on validation, in which rates are compared only on seeds
      that they share; the smaller one wins a tie.
    - A diverged run counts as zero, in validation and in test. A failed run has no score: its point
      waits for it.
    - Where an architecture changed its version, only runs of the newest one count.
    - Records of times are no runs and make no points.

    ``searched`` names all the columns that validation chooses, the learning rate first.

    Columns, beside the key, the task and its options:

    - ``knobs``: the options of the architecture; ``knobs_key``: the same as text, in the key;
    - ``settings``: all options that the points of the experiment share, "none" for None;
    - ``learning_rate``, NaN for an evaluation; ``learning_rates``, ``racing``, ``race_seeds``,
      ``waiting`` and ``validation_accuracy``, see `choose_rates`;
    - ``test_accuracy``, the mean over seeds, NaN where every run failed; ``test_accuracies``, the
      list of them by seed; ``test_accuracy_low``, ``test_accuracy_high`` and ``interval``, the name
      of what they are, see `intervals.interval`; ``learned``, how many seeds did, see
      `intervals.learned`;
    - ``test_accuracy_chosen_on_test``: what choosing the learning rate on test would have reported,
      of all rates, also those that left the race;
    - ``seeds``, how many have a score at the chosen learning rate; ``diverged``, how many of these
      runs score zero for it; ``unfinished``, how many runs failed; ``run_ids``, the list;
    - ``late_fall``: the nats by which the validation loss of these runs fell in the last quarter of
      training, their mean, NaN where unknown; see `not_converged`;
    - ``state_bytes``, NaN where the state was not measured; ``state_dtype``, ``parameters``;
    - ``verified``: which checks the mixer passed, where a record says;
    - ``segments``: the test segments with accuracies averaged over seeds, and what no model
      can beat where the records say so;
    - ``slices``: accuracy on test by slice and value, ``{name: {value: accuracy}}``.

    Rows are ordered by experiment, architecture, state bytes and knobs, whatever the order of the
    runs. Raises `UserError` for a table without the columns of runs.
    """
    frame = nested(frame)
    if "late_fall" not in frame:  # files of older versions
        frame = frame.assign(late_fall=float("nan"))
    if "kind" in frame:
        frame = frame[frame["kind"] != "timing"]
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    missing = set(RUN_COLUMNS) - set(frame.columns)
    if missing:
        raise UserError(
            f"This is no table of runs: it lacks the columns {', '.join(sorted(missing))}. "
            f"Expected one row per run, as a store or an export gives."
        )
    runs = scored(frame)
    chosen = choose_rates(runs, searched)
    best = runs.merge(chosen[[*KEY, *searched]], on=[*KEY, *searched])
    columns = {name: best[name].tolist() for name in RUN_COLUMNS}
    starts = np.flatnonzero(~best.duplicated(KEY)).tolist()
    rows = [
        _point(choice, {name: values[start:stop] for name, values in columns.items()})
        for choice, start, stop in zip(
            chosen.to_dict("records"), starts, [*starts[1:], len(best)], strict=True
        )
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["test_accuracy_low", "test_accuracy_high", "state_bytes", "parameters", "late_fall"]
    table[numbers] = table[numbers].astype(float)
    return table.sort_values(
        ["experiment", "architecture", "state_bytes", "knobs_key"], ignore_index=True
    )


RUN_COLUMNS = [
    *KEY,
    "kind",
    "knobs",
    "task",
    "task_version",
    "task_options",
    "model",
    "training",
    "run_id",
    "status",
    "architecture_version",
    "learning_rate",
    "seed",
    "validation_accuracy",
    "test_accuracy",
    "state_bytes",
    "state_dtype",
    "parameters",
    "late_fall",
    "verified",
    "segments",
    "slices",
]
COLUMNS = [
    *KEY,
    "knobs",
    "task",
    "task_options",
    "settings",
    "learning_rate",
    "learning_rates",
    "racing",
    "race_seeds",
    "waiting",
    "validation_accuracy",
    "test_accuracy",
    "test_accuracy_low",
    "test_accuracy_high",
    "interval",
    "learned",
    "test_accuracies",
    "test_accuracy_chosen_on_test",
    "seeds",
    "diverged",
    "unfinished",
    "state_bytes",
    "state_dtype",
    "parameters",
    "late_fall",
    "verified",
    "segments",
    "slices",
    "run_ids",
]


def as_points(table: pd.DataFrame) -> pd.DataFrame:
    """`points` of a table of runs; a table of points passes through."""
    return nested(table) if "run_ids" in table.columns else points(table)


STILL_FALLING = 0.03
"""A point is not converged if its validation loss fell by more nats in the last quarter of
training: 3% of its perplexity. Our own choice."""


def not_converged(points: pd.DataFrame) -> pd.Series:
    """Which `points` were still learning when their training ended; False where unknown."""
    if "late_fall" not in points:
        return pd.Series(False, index=points.index)
    return points["late_fall"].astype(float) > STILL_FALLING


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The options that all points of a run's experiment share; None is written as "none"."""
    options = {**row["task_options"], **row["model"], **row["training"]}
    del options["name"]
    options["task_version"] = row["task_version"]
    return {name: "none" if value is None else value for name, value in options.items()}


def _point(choice: Mapping[Any, Any], runs: dict[str, list[Any]]) -> dict[str, Any]:
    """The point of the runs at the chosen learning rate."""
    first = {name: values[0] for name, values in runs.items()}
    rate = choice["learning_rate"]
    kept = [index for index, score in enumerate(runs["test_accuracy"]) if not pd.isna(score)]
    ended = {name: [values[index] for index in kept] for name, values in runs.items()}
    return {
        **choice,
        "knobs": first["knobs"],
        "task": first["task"],
        "task_options": first["task_options"],
        "settings": settings_of(first),
        "learning_rate": float("nan") if rate == NO_RATE else float(rate),
        "seeds": len(set(ended["seed"])),
        "diverged": runs["status"].count("diverged"),
        "unfinished": runs["status"].count("failed"),
        "state_bytes": _largest(runs["state_bytes"]),
        "state_dtype": _first(runs["state_dtype"]),
        "parameters": _largest(runs["parameters"]),
        "late_fall": _mean(runs["late_fall"]),
        "verified": _first(runs["verified"]),
        "segments": mean_segments(ended["segments"]),
        "slices": mean_slices(ended["slices"]),
        "run_ids": runs["run_id"],
        **_over_seeds(np.array(ended["test_accuracy"], dtype=float), choice["racing"]),
    }


def _over_seeds(scores: np.ndarray, candidates: int) -> dict[str, Any]:
    low, high, name = interval(scores, candidates)
    return {
        "test_accuracy": float(scores.mean()) if len(scores) else float("nan"),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "interval": name,
        "learned": learned(scores),
        "test_accuracies": scores.tolist(),
    }


def _largest(sizes: list[float]) -> float:
    return max((size for size in sizes if not pd.isna(size)), default=float("nan"))


def _mean(values: list[float]) -> float:
    known = [value for value in values if not pd.isna(value)]
    return sum(known) / len(known) if known else float("nan")


def _first(values: list[Any]) -> Any:
    return next((value for value in values if not pd.isna(value)), None)
