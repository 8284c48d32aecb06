"""A point is marked if its validation loss still fell at the end of training."""

import pandas as pd
import pytest
from synthetic_runs import run, table

from recall_bench.frontier.points import STILL_FALLING, not_converged, points
from recall_bench.store.record import late_fall


@pytest.mark.parametrize(
    ("losses", "epochs", "fall"),
    [
        ([5.0, 4.0, 3.5, 3.2], 4, 0.3),
        ([5.0, 4.0, 3.5, 3.2, 3.1], 5, 0.4),  # two of five epochs
        ([5.0, 4.0, 4.1, 4.3], 4, -0.2),
        ([5.0, 0.1], 32, 0.0),  # stopped early
        ([5.0], 1, None),
        ([], 4, None),
        ([5.0, 4.0], None, None),
    ],
)
def test_the_late_fall_is_that_of_the_last_quarter_of_the_epochs(
    losses: list[float], epochs: int | None, fall: float | None
) -> None:
    assert late_fall(losses, epochs) == (None if fall is None else pytest.approx(fall))


def falling(*falls: float | None) -> bool:
    rows = [run(seed=seed) | {"late_fall": fall} for seed, fall in enumerate(falls)]
    (marked,) = not_converged(points(table(*rows)))
    return bool(marked)


def test_a_point_is_marked_by_the_mean_over_its_seeds() -> None:
    assert falling(STILL_FALLING + 0.01)
    assert not falling(STILL_FALLING - 0.01)
    assert not falling(0.05, 0.0, -0.01)
    assert falling(0.2, 0.0, -0.01)
    assert falling(0.2, None)


def test_a_point_is_not_marked_where_nothing_is_known() -> None:
    assert not falling(None)
    old = table(run()).drop(columns="late_fall")
    assert not not_converged(points(old)).any()
    assert not not_converged(pd.DataFrame({"test_accuracy": [0.5]})).any()


def test_only_runs_at_the_chosen_rate_count() -> None:
    rows = [
        run(test=0.9, learning_rate=1e-3) | {"late_fall": 0.0},
        run(test=0.1, learning_rate=1e-2) | {"late_fall": 1.0},
    ]
    assert not not_converged(points(table(*rows))).any()
