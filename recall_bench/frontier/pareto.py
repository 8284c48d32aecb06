"""The recall-memory frontier: the points that no other beats."""

import numpy as np
import pandas as pd

from recall_bench.frontier.points import as_points
from recall_bench.frontier.race import ONE_SEED_DEVIATION


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """The points that no other point of their experiment beats in both recall and state bytes.

    A point is beaten by one with at most its bytes and at least its test accuracy, one of the two
    strictly; equal points do not beat each other. Takes runs or `points`; rows come back with state
    bytes rising, and recall with them. Points without a measured state or a score are left out.
    """
    table = as_points(table)
    return table if table.empty else _unbeaten(table).reset_index(drop=True)


def standing(points: pd.DataFrame) -> pd.Series:
    """Whether each of `points` is on the frontier: "clear", "within noise", or "" where it is not.

    A point of the frontier is `within_noise` where its lead over smaller points is not clear.
    """
    result = pd.Series("", index=points.index, dtype=object)
    if len(points):
        best = _unbeaten(points).index
        result[best] = np.where(within_noise(points)[best], "within noise", "clear")
    return result


def _unbeaten(table: pd.DataFrame) -> pd.DataFrame:
    """The frontier, with the index of the table."""
    measured = table.dropna(subset=["state_bytes", "test_accuracy"])
    ordered = measured.sort_values(
        ["experiment", "state_bytes", "test_accuracy", "architecture", "knobs_key"],
        ascending=[True, True, False, True, True],
    )
    best = ordered.groupby("experiment")["test_accuracy"].cummax()
    smallest = ordered.groupby(["experiment", best])["state_bytes"].transform("min")
    unbeaten = (ordered["test_accuracy"] == best) & (ordered["state_bytes"] == smallest)
    return ordered[unbeaten]


def within_noise(points: pd.DataFrame) -> pd.Series:
    """Whether noise may explain that a point of `points` is not beaten: bool, by its index.

    It may where the interval of another point of the experiment with at most the same bytes reaches
    up to the point's own interval. A single seed has no interval; it counts as its score plus and
    minus `ONE_SEED_DEVIATION`. Points without a measured state or a score are never compared.
    """
    result = pd.Series(False, index=points.index)
    measured = points.dropna(subset=["state_bytes", "test_accuracy"])
    for _, group in measured.groupby("experiment"):
        score = group["test_accuracy"]
        low = group["test_accuracy_low"].fillna(score - ONE_SEED_DEVIATION).to_numpy()
        high = group["test_accuracy_high"].fillna(score + ONE_SEED_DEVIATION).to_numpy()
        size = group["state_bytes"].to_numpy()
        rivals = (size[None, :] <= size[:, None]) & ~np.eye(len(group), dtype=bool)
        reached = rivals & (high[None, :] >= low[:, None])
        result.loc[group.index] = reached.any(axis=1).tolist()
    return result
