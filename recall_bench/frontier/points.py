"""Points: pure functions of a table of runs.

The table has one row a run, with the columns of `recall_bench.store.table`. A point is one
architecture at one knob setting within one experiment (task, backbone and recipe).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from recall_bench.errors import UserError
from recall_bench.frontier.intervals import bootstrap_interval
from recall_bench.frontier.segments import mean_segments, mean_slices
from recall_bench.frontier.selection import KEY, NO_RATE, choose_rates, scored
from recall_bench.store.table import nested


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a point: the learning rate chosen on validation, scored on test, over seeds.

    - The learning rate has the highest mean validation accuracy over seeds; the smaller one wins
      a tie. Only the learning rates with the most seeds compete, since means over different seeds
      do not compare: a sweep that is not finished never wins by a lucky seed.
    - A diverged or failed run counts as zero, in validation and in test; it is not left out.
    - Where an architecture changed its version, only runs of the newest one count.
    - Records of times are no runs and make no points.

    Columns, beside the key, the task and its options:

    - ``knobs``: the options of the architecture; ``knobs_key``: the same as text, in the key;
    - ``settings``: all options that the points of the experiment share, "none" for None;
    - ``learning_rate``, NaN for an evaluation; ``learning_rates``, how many competed;
      ``validation_accuracy``, its mean;
    - ``test_accuracy``, the mean over seeds; ``test_accuracies``, the list of them by seed;
      ``test_accuracy_low`` and ``test_accuracy_high``, see `bootstrap_interval`;
    - ``test_accuracy_chosen_on_test``: what choosing the learning rate on test would have reported,
      of all rates, also those with fewer seeds;
    - ``seeds``, ``unfinished``: how many, of the chosen learning rate; ``run_ids``, the list;
    - ``state_bytes``, NaN where the state was not measured; ``state_dtype``, ``parameters``;
    - ``verified``: which checks the mixer passed, where a record says;
    - ``segments``: the test segments with accuracies averaged over seeds, and what no model
      can beat where the records say so;
    - ``slices``: accuracy on test by slice and value, ``{name: {value: accuracy}}``.

    Rows are ordered by experiment, architecture, state bytes and knobs, whatever the order of the
    runs. Raises `UserError` for a table without the columns of runs.
    """
    frame = nested(frame)
    if "kind" in frame:
        frame = frame[frame["kind"] != "timing"]
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    missing = set(RUN_COLUMNS) - set(frame.columns)
    if missing:
        raise UserError(
            f"This is no table of runs: it lacks the columns {', '.join(sorted(missing))}. "
            f"Expected one row a run, as a store or an export gives."
        )
    runs = scored(frame)
    chosen = choose_rates(runs)
    best = runs.merge(chosen[[*KEY, "learning_rate"]], on=[*KEY, "learning_rate"])
    columns = {name: best[name].tolist() for name in RUN_COLUMNS}
    scores = best["test_accuracy"].to_numpy()
    starts = np.flatnonzero(~best.duplicated(KEY)).tolist()
    rows = [
        _point(choice, {name: values[start:stop] for name, values in columns.items()})
        | _over_seeds(scores[start:stop])
        for choice, start, stop in zip(
            chosen.to_dict("records"), starts, [*starts[1:], len(best)], strict=True
        )
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["test_accuracy_low", "test_accuracy_high", "state_bytes", "parameters"]
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
    "validation_accuracy",
    "test_accuracy",
    "test_accuracy_low",
    "test_accuracy_high",
    "test_accuracies",
    "test_accuracy_chosen_on_test",
    "seeds",
    "unfinished",
    "state_bytes",
    "state_dtype",
    "parameters",
    "verified",
    "segments",
    "slices",
    "run_ids",
]


def as_points(table: pd.DataFrame) -> pd.DataFrame:
    """`points` of a table of runs; a table of points passes through."""
    return nested(table) if "run_ids" in table.columns else points(table)


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the points of a run's experiment share, by option, "none" for None."""
    options = {**row["task_options"], **row["model"], **row["training"]}
    del options["name"]
    options["task_version"] = row["task_version"]
    return {name: "none" if value is None else value for name, value in options.items()}


def _point(choice: Mapping[Any, Any], runs: dict[str, list[Any]]) -> dict[str, Any]:
    """The point that the runs at the chosen learning rate make."""
    first = {name: values[0] for name, values in runs.items()}
    rate = choice["learning_rate"]
    return {
        **choice,
        "knobs": first["knobs"],
        "task": first["task"],
        "task_options": first["task_options"],
        "settings": settings_of(first),
        "learning_rate": float("nan") if rate == NO_RATE else float(rate),
        "seeds": len(set(runs["seed"])),
        "unfinished": sum(status != "finished" for status in runs["status"]),
        "state_bytes": _largest(runs["state_bytes"]),
        "state_dtype": _first(runs["state_dtype"]),
        "parameters": _largest(runs["parameters"]),
        "verified": _first(runs["verified"]),
        "segments": mean_segments(runs["segments"]),
        "slices": mean_slices(runs["slices"]),
        "run_ids": runs["run_id"],
    }


def _over_seeds(scores: np.ndarray) -> dict[str, Any]:
    low, high = bootstrap_interval(scores)
    return {
        "test_accuracy": float(scores.mean()),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_accuracies": scores.tolist(),
    }


def _largest(sizes: list[float]) -> float:
    return max((size for size in sizes if not pd.isna(size)), default=float("nan"))


def _first(values: list[Any]) -> Any:
    return next((value for value in values if not pd.isna(value)), None)
