"""Points and the recall-memory frontier: pure functions of a table of runs.

The table has one row a run, with the columns of `recall_bench.store.Record.row`. A point is one
architecture at one knob setting within one experiment (task, backbone and recipe).
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from recall_bench.errors import UserError, nearest
from recall_bench.frontier.experiments import distinctions, settings_of

KEY = ["experiment", "architecture", "knobs"]
"""What makes a point."""

RESAMPLES = 10_000
CONFIDENCE = 0.95


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a point: the learning rate chosen on validation, scored on test, over seeds.

    - The learning rate has the highest mean validation accuracy over seeds; the smaller one wins
      a tie. Only the learning rates with the most seeds compete, since means over different seeds
      do not compare: a sweep that is not finished never wins by a lucky seed.
    - A diverged or failed run counts as zero, in validation and in test; it is not left out.
    - Where an architecture changed its version, only runs of the newest one count.

    Columns, beside the key, the task and its options:

    - ``settings``: JSON, all options that the points of the experiment share, "none" for None;
    - ``learning_rate``; ``learning_rates``, how many competed; ``validation_accuracy``, its mean;
    - ``test_accuracy``, the mean over seeds; ``test_accuracies``, the list of them by seed;
      ``test_accuracy_low`` and ``test_accuracy_high``, see `bootstrap_interval`;
    - ``test_accuracy_chosen_on_test``: what choosing the learning rate on test would have reported,
      of all rates, also those with fewer seeds;
    - ``seeds``, ``unfinished``: how many, of the chosen learning rate; ``run_ids``, the list;
    - ``state_bytes``, ``state_dtype``, ``parameters``;
    - ``segments``: JSON, the test segments with accuracies averaged over seeds, and what no model
      can beat where the records say so;
    - ``slices``: JSON, accuracy on test by slice and value, ``{name: {value: accuracy}}``.

    Rows are ordered by experiment, architecture, state bytes and knobs, whatever the order of the
    runs. Raises `UserError` for a table without the columns of runs.
    """
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    missing = set(RUN_COLUMNS) - set(frame.columns)
    if missing:
        raise UserError(
            f"This is no table of runs: it lacks the columns {', '.join(sorted(missing))}. "
            f"Expected one row a run, as a store or an export gives."
        )
    runs = _scored(frame)
    rows = [
        _point(dict(zip(KEY, key, strict=True)), group)
        for key, group in runs.groupby(KEY, sort=True)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ["test_accuracy_low", "test_accuracy_high", "state_bytes", "parameters"]
    table[numbers] = table[numbers].astype(float)
    return table.sort_values(
        ["experiment", "architecture", "state_bytes", "knobs"], ignore_index=True
    )


RUN_COLUMNS = [
    *KEY,
    "task",
    "task_options",
    "run_id",
    "record",
    "status",
    "learning_rate",
    "seed",
    "validation_accuracy",
    "test_accuracy",
    "state_bytes",
    "state_dtype",
    "parameters",
    "segments",
]
COLUMNS = [
    *KEY,
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
    "segments",
    "slices",
    "run_ids",
]


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """The points that no other point of their experiment beats in both recall and state bytes.

    A point is beaten by one with at most its bytes and at least its test accuracy, one of the two
    strictly; equal points do not beat each other. Takes runs or `points`; rows come back with state
    bytes rising, and recall with them. Points without a measured state are left out.
    """
    table = as_points(table)
    if table.empty:
        return table
    measured = table.dropna(subset=["state_bytes", "test_accuracy"])
    ordered = measured.sort_values(
        ["experiment", "state_bytes", "test_accuracy", "architecture", "knobs"],
        ascending=[True, True, False, True, True],
    )
    best = ordered.groupby("experiment")["test_accuracy"].cummax()
    smallest = ordered.groupby(["experiment", best])["state_bytes"].transform("min")
    unbeaten = (ordered["test_accuracy"] == best) & (ordered["state_bytes"] == smallest)
    return ordered[unbeaten].reset_index(drop=True)


def as_points(table: pd.DataFrame) -> pd.DataFrame:
    """`points` of a table of runs; a table of points passes through."""
    return table if "run_ids" in table.columns else points(table)


def one_experiment(data: pd.DataFrame, experiment: str | None) -> pd.DataFrame:
    """The measured points of one experiment, of runs or `points`; the only one where not named.

    Raises `UserError` where there are none, where there are several and none is named, and for an
    unknown name.
    """
    table = as_points(data).dropna(subset=["state_bytes"]).reset_index(drop=True)
    if table.empty:
        raise UserError("Nothing to plot. Expected at least one run with a measured state.")
    names = table["experiment"].unique()
    if experiment is None and len(names) > 1:
        told = distinctions(table)
        lines = [
            f"  {name}: {len(points)} points of {points['task'].iloc[0]} {told[str(name)]}".rstrip()
            for name, points in table.groupby("experiment")
        ]
        raise UserError(
            f"The runs belong to {len(names)} experiments, whose points do not compare. Choose one "
            f"by name: experiment=…, or --experiment … on the command line.\n" + "\n".join(lines)
        )
    if experiment is not None and experiment not in names:
        raise UserError(f"Unknown experiment '{experiment}'. {nearest(experiment, names)}")
    return table[table["experiment"] == (experiment or names[0])].reset_index(drop=True)


def scored_segments(text: str) -> list[dict[str, Any]]:
    """The test segments in the JSON of a ``segments`` column."""
    return [segment for segment in json.loads(text) if segment["split"] == "test"]


def mean_of_segments(text: str, what: str) -> float | None:
    """The mean over the test segments of a score or limit; None where not all of them say."""
    tested = scored_segments(text)
    values = [float(segment[what]) for segment in tested if segment.get(what) is not None]
    return sum(values) / len(values) if values and len(values) == len(tested) else None


def _scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs with numeric columns, zero for what did not finish, one row a run, newest version."""
    # "finished" sorts last: where a run was stored twice, the copy that finished counts.
    runs = frame.sort_values(["run_id", "status"]).drop_duplicates("run_id", keep="last")
    for column in ("validation_accuracy", "test_accuracy", "state_bytes", "parameters"):
        runs[column] = pd.to_numeric(runs[column], errors="coerce").astype(float)
    finished = runs["status"] == "finished"
    for column in ("validation_accuracy", "test_accuracy"):
        runs[column] = runs[column].where(finished, 0.0).fillna(0.0)
    runs["_version"] = [_architecture_version(text) for text in runs["record"]]
    newest = runs.groupby(KEY)["_version"].transform("max")
    return runs[runs["_version"] == newest].sort_values([*KEY, "learning_rate", "seed", "run_id"])


def _architecture_version(record: str) -> int:
    return int(json.loads(record).get("versions", {}).get("architecture", 1))


def _point(key: dict[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    rates = runs.groupby("learning_rate").agg(
        seeds=("seed", "nunique"),
        validation=("validation_accuracy", "mean"),
        test=("test_accuracy", "mean"),
    )
    best_test = rates["test"].max()
    rates = rates[rates["seeds"] == rates["seeds"].max()]
    chosen = rates["validation"].round(12).idxmax()  # the first, hence the smallest, of equal ones
    best = runs[runs["learning_rate"] == chosen]
    scores = best["test_accuracy"].to_numpy()
    low, high = bootstrap_interval(scores)
    first = best.iloc[0]
    return {
        **key,
        "task": first["task"],
        "task_options": first["task_options"],
        "settings": json.dumps(settings_of(first["record"])),
        "learning_rate": float(chosen),
        "learning_rates": len(rates),
        "validation_accuracy": float(rates.loc[chosen, "validation"]),
        "test_accuracy": float(scores.mean()),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_accuracies": scores.tolist(),
        "test_accuracy_chosen_on_test": float(best_test),
        "seeds": int(best["seed"].nunique()),
        "unfinished": int((best["status"] != "finished").sum()),
        "state_bytes": best["state_bytes"].max(),
        "state_dtype": next(iter(best["state_dtype"].dropna()), None),
        "parameters": best["parameters"].max(),
        "segments": _mean_segments(best["segments"]),
        "slices": _mean_slices(best["record"]),
        "run_ids": best["run_id"].tolist(),
    }


def bootstrap_interval(scores: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of the mean, over 10,000 resamples from a fixed seed.

    NaN for a single score. Of a few scores it is too narrow: it never leaves their range.
    """
    if len(scores) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(scores[drawn].mean(1), [tail, 1 - tail])
    return float(low), float(high)


LIMITS = ("chance", "ceiling", "window_ceiling")
"""What a record may say of a segment beside its scores; the same for every seed."""


def _mean_segments(texts: Iterable[str]) -> str:
    """The test segments of several runs, scores averaged; a run without any counts as zero."""
    texts = list(texts)
    total: dict[str, dict[str, Any]] = {}
    for text in texts:
        for segment in scored_segments(text):
            name = json.dumps([segment["length"], segment["options"]], sort_keys=True)
            entry = total.setdefault(
                name,
                {
                    "split": "test",
                    "length": segment["length"],
                    "options": segment["options"],
                    "accuracy": 0.0,
                    **{limit: segment.get(limit) for limit in LIMITS},
                },
            )
            entry["accuracy"] += segment["accuracy"] / len(texts)
            if segment.get("exact_match") is not None:
                before = entry.get("exact_match", 0.0)
                entry["exact_match"] = before + segment["exact_match"] / len(texts)
    return json.dumps(list(total.values()))


def _mean_slices(records: Iterable[str]) -> str:
    """The slices of several runs, accuracies averaged; a run without any counts as zero."""
    texts = list(records)
    total: dict[str, dict[int, float]] = {}
    for text in texts:
        for found in json.loads(text).get("slices", []):
            values = total.setdefault(found["name"], {})
            before = values.get(found["value"], 0.0)
            values[found["value"]] = before + found["accuracy"] / len(texts)
    return json.dumps(total)
