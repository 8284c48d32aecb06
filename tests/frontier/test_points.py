import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import run, table

from recall_bench.errors import UserError
from recall_bench.frontier.intervals import bootstrap_interval
from recall_bench.frontier.pareto import frontier
from recall_bench.frontier.points import COLUMNS, points
from recall_bench.frontier.segments import on_test
from recall_bench.store.table import flat, nested

candidates = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
    min_size=1,
    max_size=12,
)


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def test_the_learning_rate_is_chosen_on_validation_and_scored_on_test():
    point = only(
        points(
            table(
                run(learning_rate=1e-3, validation=0.9, test=0.6),
                run(learning_rate=1e-2, validation=0.8, test=0.7),
            )
        )
    )
    assert point["learning_rate"] == 1e-3
    assert point["test_accuracy"] == 0.6
    assert point["test_accuracy_chosen_on_test"] == 0.7
    assert point["learning_rates"] == 2


def test_the_mean_over_seeds_decides_and_not_the_best_seed():
    point = only(
        points(
            table(
                run(learning_rate=1e-3, seed=0, test=0.9),
                run(learning_rate=1e-3, seed=1, test=0.1),
                run(learning_rate=1e-2, seed=0, test=0.6),
                run(learning_rate=1e-2, seed=1, test=0.7),
            )
        )
    )
    assert point["learning_rate"] == 1e-2
    assert point["test_accuracies"] == [0.6, 0.7]
    assert point["test_accuracy"] == pytest.approx(0.65)
    assert point["seeds"] == 2


def test_a_tie_goes_to_the_smaller_learning_rate():
    rows = [run(learning_rate=rate, test=0.5) for rate in (1e-2, 1e-4, 1e-3)]
    assert only(points(table(*rows)))["learning_rate"] == 1e-4


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_that_did_not_finish_counts_as_zero(status):
    point = only(
        points(
            table(
                run(learning_rate=1e-2, seed=0, test=1.0),
                run(learning_rate=1e-2, seed=1, status=status),
                run(learning_rate=1e-3, seed=0, test=0.6),
                run(learning_rate=1e-3, seed=1, test=0.6),
            )
        )
    )
    assert point["learning_rate"] == 1e-3
    assert point["test_accuracy_chosen_on_test"] == pytest.approx(0.6)
    broken = only(points(table(run(seed=0, test=0.8), run(seed=1, status=status))))
    assert broken["test_accuracies"] == [0.8, 0.0]
    assert broken["unfinished"] == 1


def test_learning_rates_with_fewer_seeds_do_not_compete():
    point = only(
        points(
            table(
                run(learning_rate=1e-2, seed=0, test=0.99),
                run(learning_rate=1e-3, seed=0, test=0.5),
                run(learning_rate=1e-3, seed=1, test=0.5),
            )
        )
    )
    assert point["learning_rate"] == 1e-3
    assert point["learning_rates"] == 1
    assert point["test_accuracy_chosen_on_test"] == 0.99


def test_only_the_newest_version_of_an_architecture_counts():
    point = only(points(table(run(version=1, test=0.9), run(version=2, test=0.4))))
    assert point["test_accuracy"] == 0.4


def test_a_run_stored_twice_counts_once_and_its_finished_copy_is_the_one():
    failed, finished = run(status="failed"), run(test=0.7)
    assert failed["run_id"] == finished["run_id"]
    for rows in ((failed, finished), (finished, failed)):
        point = only(points(table(*rows)))
        assert point["test_accuracies"] == [0.7]


def test_knobs_and_experiments_make_points_of_their_own():
    made = points(table(run(width=1), run(width=2), run(width=2, vocab_size=64)))
    assert len(made) == 3
    assert made["experiment"].nunique() == 2


def test_the_order_of_the_runs_changes_nothing():
    rng = np.random.default_rng(0)
    rows = [
        run(
            arch,
            round(rng.random(), 3),
            learning_rate=rate,
            seed=seed,
            state_bytes=size,
            width=size,
        )
        for arch in ("based", "mamba")
        for size in (10, 20)
        for rate in (1e-3, 1e-2)
        for seed in range(3)
    ]
    frame = table(*rows)
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(points(frame), points(shuffled))
    pd.testing.assert_frame_equal(frontier(frame), frontier(shuffled))


def test_the_interval_lies_around_the_mean_and_is_the_same_every_time():
    scores = np.array([0.98, 0.876, 0.985])
    low, high = bootstrap_interval(scores)
    assert (low, high) == bootstrap_interval(scores)
    assert scores.min() <= low < scores.mean() < high <= scores.max()


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=30)) for _ in range(100)]
    assert 85 <= sum(low <= 0 <= high for low, high in intervals) <= 100


def test_one_seed_has_no_interval():
    point = only(points(table(run())))
    assert math.isnan(point["test_accuracy_low"])
    assert math.isnan(point["test_accuracy_high"])


def test_segments_are_averaged_over_seeds():
    point = only(
        points(table(run(seed=0, test=0.4), run(seed=1, test=0.8), run(seed=2, status="failed")))
    )
    segments = on_test(point["segments"])
    assert [segment["options"]["pairs"] for segment in segments] == [4, 8, 16, 32, 64, 128, 256]
    assert segments[0]["accuracy"] == pytest.approx(0.4)


def test_a_table_without_runs_gives_no_points():
    assert points(pd.DataFrame()).columns.tolist() == COLUMNS
    assert len(frontier(pd.DataFrame())) == 0


def test_a_table_of_something_else_is_refused_with_what_it_lacks():
    with pytest.raises(UserError, match=r"lacks the columns .*learning_rate"):
        points(pd.DataFrame({"experiment": ["a"], "architecture": ["b"]}))


def frame_of(sizes_and_scores):
    sizes, scores = zip(*sizes_and_scores, strict=True)
    knobs = [str(index) for index in range(len(sizes))]
    columns = {"knobs_key": knobs, "state_bytes": sizes, "test_accuracy": scores, "run_ids": knobs}
    return pd.DataFrame({"experiment": "e", "architecture": "a", **columns})


def beats(one, other):
    no_worse = one[0] <= other[0] and one[1] >= other[1]
    return no_worse and one != other


@given(candidates)
def test_the_frontier_is_exactly_the_points_that_no_other_beats(sizes_and_scores):
    kept = frontier(frame_of(sizes_and_scores))
    found = list(zip(kept["state_bytes"], kept["test_accuracy"], strict=True))
    expected = [
        one for one in sizes_and_scores if not any(beats(other, one) for other in sizes_and_scores)
    ]
    assert sorted(found) == sorted(expected)


@given(candidates)
def test_recall_rises_with_memory_along_the_frontier(sizes_and_scores):
    kept = frontier(frame_of(sizes_and_scores))
    assert kept["state_bytes"].is_monotonic_increasing
    assert kept["test_accuracy"].is_monotonic_increasing


@given(candidates)
def test_the_frontier_of_the_frontier_is_itself(sizes_and_scores):
    kept = frontier(frame_of(sizes_and_scores))
    pd.testing.assert_frame_equal(frontier(kept), kept)


def test_the_frontier_takes_runs_and_points_alike():
    runs = table(run(test=0.5, width=1), run(test=0.6, width=2, state_bytes=2000))
    pd.testing.assert_frame_equal(frontier(runs), frontier(points(runs)))


def test_points_of_different_experiments_do_not_beat_each_other():
    kept = frontier(table(run(test=0.9), run(test=0.1, vocab_size=64)))
    assert len(kept) == 2


def test_a_point_without_a_measured_state_is_not_on_the_frontier():
    row = {**run(), "state_bytes": None}
    assert len(frontier(table(row))) == 0


def test_points_survive_a_file(tmp_path):
    made = points(table(run(test=0.5, width=1), run(test=0.6, width=2)))
    flat(made).to_parquet(tmp_path / "points.parquet")
    again = pd.read_parquet(tmp_path / "points.parquet")
    assert nested(again).loc[0, "knobs"] == {"width": 1}
    assert nested(again)["segments"].tolist() == made["segments"].tolist()
    pd.testing.assert_frame_equal(frontier(again)[COLUMNS[:3]], frontier(made)[COLUMNS[:3]])
