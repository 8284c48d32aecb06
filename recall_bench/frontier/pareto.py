"""The recall-memory frontier: the points that no other beats."""

import pandas as pd

from recall_bench.frontier.points import as_points


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
        ["experiment", "state_bytes", "test_accuracy", "architecture", "knobs_key"],
        ascending=[True, True, False, True, True],
    )
    best = ordered.groupby("experiment")["test_accuracy"].cummax()
    smallest = ordered.groupby(["experiment", best])["state_bytes"].transform("min")
    unbeaten = (ordered["test_accuracy"] == best) & (ordered["state_bytes"] == smallest)
    return ordered[unbeaten].reset_index(drop=True)
