"""Selects the runs of a point: the newest version, at the rate that wins on validation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recall_bench.frontier.race import Race, race

KEY = ["experiment", "architecture", "knobs_key"]
"""The columns that identify a point."""
SEARCHED = ["learning_rate"]
"""The columns whose values validation chooses."""

NO_RATE = -1.0
"""Stands for the learning rate of an evaluation, which has none, while runs are grouped."""

_BETTER = {"failed": 0, "diverged": 1, "finished": 2}
"""Of a run that was stored twice, the copy that came furthest counts."""


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs with numeric columns, one row per run, of the newest version of each architecture.

    A diverged run scores zero. A failed run, whose process crashed or ran out of memory, has no
    score: NaN. Ordered by point, learning rate, seed and run id.
    """
    runs = frame.assign(_better=frame["status"].map(_BETTER))
    runs = runs.sort_values(["run_id", "_better"]).drop_duplicates("run_id", keep="last")
    runs = runs.drop(columns="_better")
    for column in ("validation_accuracy", "test_accuracy", "state_bytes", "parameters"):
        runs[column] = pd.to_numeric(runs[column], errors="coerce").astype(float)
    for column in ("validation_accuracy", "test_accuracy"):
        zero = runs[column].where(runs["status"] == "finished", 0.0).fillna(0.0)
        runs[column] = zero.where(runs["status"] != "failed")
    runs["learning_rate"] = runs["learning_rate"].astype(float).fillna(NO_RATE)
    runs["seed"] = runs["seed"].fillna(0).astype(int)
    newest = runs.groupby(KEY)["architecture_version"].transform("max")
    runs = runs[runs["architecture_version"] == newest]
    return runs.sort_values([*KEY, "learning_rate", "seed", "run_id"], ignore_index=True)


class Candidates(NamedTuple):
    """The runs of one point by candidate and seed, and how their race stands."""

    values: list[tuple[Any, ...]]
    """The values of each candidate in the searched columns, (C,), in ascending order."""
    race: Race
    validation: np.ndarray
    """Mean validation accuracy by candidate, (C,), over all its seeds; NaN without any."""
    test: np.ndarray
    """The same of test accuracy."""


def candidates(runs: pd.DataFrame, searched: Sequence[str] = SEARCHED) -> Candidates:
    """The race between the candidates of one point, from its `scored` runs."""
    values = sorted(set(zip(*(runs[name].tolist() for name in searched), strict=True)))
    place = {value: index for index, value in enumerate(values)}
    rows = [place[value] for value in zip(*(runs[name].tolist() for name in searched), strict=True)]
    seeds, columns = np.unique(runs["seed"].to_numpy(), return_inverse=True)
    shape = len(values), len(seeds)
    validation = runs["validation_accuracy"].to_numpy()
    test = runs["test_accuracy"].to_numpy()
    started = np.zeros(shape, dtype=bool)
    started[rows, columns] = True
    table = _mean(validation, np.asarray(rows) * len(seeds) + columns, shape[0] * shape[1])
    return Candidates(
        values,
        race(table.reshape(shape), started),
        _mean(validation, np.asarray(rows), shape[0]),
        _mean(test, np.asarray(rows), shape[0]),
    )


def choose_rates(runs: pd.DataFrame, searched: Sequence[str] = SEARCHED) -> pd.DataFrame:
    """One row per point of `scored` runs, in their order: the choice of the race on validation.

    Columns beside `KEY` and the searched ones: ``learning_rates``, how many candidates there are;
    ``racing``, how many of them are still in the race; ``race_seeds``, on how many seeds those were
    compared; ``waiting``, how many of them lack a run; ``validation_accuracy``, the mean of the
    chosen one over its seeds; ``test_accuracy_chosen_on_test``, the best mean of any candidate.
    """
    rows = []
    starts = np.flatnonzero(~runs.duplicated(KEY)).tolist()
    columns = runs[[*KEY, *searched, "seed", "validation_accuracy", "test_accuracy"]]
    for start, stop in zip(starts, [*starts[1:], len(runs)], strict=True):
        point = columns.iloc[start:stop]
        competing = candidates(point, searched)
        rows.append(
            dict(zip(KEY, point.iloc[0][KEY], strict=True))
            | dict(zip(searched, competing.values[competing.race.leader], strict=True))
            | {
                "learning_rates": len(competing.values),
                "racing": int(competing.race.racing.sum()),
                "race_seeds": int(competing.race.shared.sum()),
                "waiting": int(competing.race.waiting.sum()),
                "validation_accuracy": float(competing.validation[competing.race.leader]),
                "test_accuracy_chosen_on_test": max(
                    competing.test[~np.isnan(competing.test)].tolist(), default=float("nan")
                ),
            }
        )
    return pd.DataFrame(rows)


def _mean(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The mean of the values that are not NaN by group, (count,); NaN for a group without any."""
    known = ~np.isnan(values)
    number = np.bincount(groups[known], minlength=count)
    total = np.bincount(groups[known], weights=values[known], minlength=count)
    return np.divide(total, number, out=np.full(count, np.nan), where=number > 0)


def unmeasured(table: pd.DataFrame) -> pd.Series:
    """Whether runs or points ran without a measured state; those that never ran have no sizes."""
    return table["state_bytes"].isna() & table["parameters"].notna()
