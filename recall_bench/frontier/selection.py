"""Which runs make a point: the newest version's, at the learning rate that validation chooses."""

import pandas as pd

KEY = ["experiment", "architecture", "knobs_key"]
"""What makes a point."""

NO_RATE = -1.0
"""Stands for the learning rate of an evaluation, which has none, while runs are grouped."""


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs with numeric columns, zero for what did not finish, one row a run, newest version.

    Ordered by point, learning rate, seed and run id.
    """
    # "finished" sorts last: where a run was stored twice, the copy that finished counts.
    runs = frame.sort_values(["run_id", "status"]).drop_duplicates("run_id", keep="last")
    for column in ("validation_accuracy", "test_accuracy", "state_bytes", "parameters"):
        runs[column] = pd.to_numeric(runs[column], errors="coerce").astype(float)
    finished = runs["status"] == "finished"
    for column in ("validation_accuracy", "test_accuracy"):
        runs[column] = runs[column].where(finished, 0.0).fillna(0.0)
    runs["learning_rate"] = runs["learning_rate"].astype(float).fillna(NO_RATE)
    runs["seed"] = runs["seed"].fillna(0).astype(int)
    newest = runs.groupby(KEY)["architecture_version"].transform("max")
    runs = runs[runs["architecture_version"] == newest]
    return runs.sort_values([*KEY, "learning_rate", "seed", "run_id"], ignore_index=True)


def choose_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a point of `scored` runs, in their order: the learning rate, and who competed.

    The rate with the highest mean validation accuracy over seeds, the smaller one of equal ones,
    among those with the most seeds. Columns beside `KEY`: ``learning_rate``, ``learning_rates``,
    ``validation_accuracy``, ``test_accuracy_chosen_on_test``.
    """
    rates = (
        runs.groupby([*KEY, "learning_rate"])
        .agg(
            seeds=("seed", "nunique"),
            validation_accuracy=("validation_accuracy", "mean"),
            test=("test_accuracy", "mean"),
        )
        .reset_index()
    )
    points = rates.groupby(KEY)
    rates["test_accuracy_chosen_on_test"] = points["test"].transform("max")
    rates = rates[rates["seeds"] == points["seeds"].transform("max")]
    rates = rates.assign(rounded=rates["validation_accuracy"].round(12))
    points = rates.groupby(KEY)
    rates["learning_rates"] = points["learning_rate"].transform("size")
    best = rates[rates["rounded"] == points["rounded"].transform("max")]
    return best.drop_duplicates(KEY).drop(columns=["seeds", "test", "rounded"])


def unmeasured(table: pd.DataFrame) -> pd.Series:
    """Whether runs or points ran and their state was not measured; what never ran has no sizes."""
    return table["state_bytes"].isna() & table["parameters"].notna()
