import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import run, table

from recall_bench.errors import UserError
from recall_bench.frontier.pareto import frontier, standing, within_noise
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


def test_a_diverged_run_counts_as_zero():
    point = only(
        points(
            table(
                run(learning_rate=1e-2, seed=0, test=1.0),
                run(learning_rate=1e-2, seed=1, status="diverged"),
                run(learning_rate=1e-3, seed=0, test=0.95),
                run(learning_rate=1e-3, seed=1, test=0.95),
            )
        )
    )
    assert point["learning_rate"] == 1e-3
    broken = only(points(table(run(seed=0, test=0.8), run(seed=1, status="diverged"))))
    assert broken["test_accuracies"] == [0.8, 0.0]
    assert (broken["seeds"], broken["diverged"], broken["unfinished"]) == (2, 1, 0)


def test_a_failed_run_is_never_averaged_and_its_point_waits():
    point = only(points(table(run(seed=0, test=0.8), run(seed=1, status="failed"))))
    assert point["test_accuracies"] == [0.8]
    assert point["test_accuracy"] == 0.8
    assert (point["seeds"], point["diverged"], point["unfinished"]) == (1, 0, 1)
    assert point["waiting"] == 1
    assert on_test(point["segments"])[0]["accuracy"] == pytest.approx(0.8)


def test_a_point_whose_runs_all_failed_has_no_score():
    made = points(table(run(seed=0, status="failed"), run("mamba", 0.4)))
    failed = only(made[made["architecture"] == "based"])
    assert math.isnan(failed["test_accuracy"])
    assert (failed["seeds"], failed["unfinished"], failed["waiting"]) == (0, 1, 1)
    assert frontier(made)["architecture"].tolist() == ["mamba"]


def test_a_rate_whose_run_failed_does_not_stop_the_others_from_being_compared():
    point = only(
        points(
            table(
                run(learning_rate=1e-1, status="failed"),
                run(learning_rate=1e-2, test=0.9),
                run(learning_rate=1e-3, test=0.5),
            )
        )
    )
    assert (point["learning_rate"], point["learning_rates"]) == (1e-2, 3)
    assert (point["racing"], point["race_seeds"], point["waiting"]) == (2, 1, 1)


def test_more_seeds_at_a_bad_rate_do_not_replace_a_good_point():
    good = [run(learning_rate=1e-2, test=0.9), run(learning_rate=3e-3, test=0.88)]
    bad = [run(learning_rate=1e-3, seed=seed, test=0.5) for seed in range(3)]
    point = only(points(table(*good, *bad)))
    assert (point["learning_rate"], point["test_accuracy"], point["seeds"]) == (1e-2, 0.9, 1)
    assert (point["learning_rates"], point["racing"], point["waiting"]) == (3, 2, 0)


def test_a_point_waits_while_a_rate_in_the_race_has_fewer_seeds():
    rows = [run(learning_rate=1e-2, seed=seed, test=test) for seed, test in enumerate((0.71, 0.0))]
    rows.append(run(learning_rate=1e-3, test=0.7))
    point = only(points(table(*rows)))
    assert (point["learning_rate"], point["seeds"]) == (1e-2, 2)
    assert (point["racing"], point["race_seeds"], point["waiting"]) == (2, 1, 1)
    point = only(points(table(*rows, run(learning_rate=1e-3, seed=1, test=0.7))))
    assert (point["learning_rate"], point["waiting"]) == (1e-3, 0)


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


def test_one_seed_has_no_interval():
    point = only(points(table(run())))
    assert math.isnan(point["test_accuracy_low"])
    assert math.isnan(point["test_accuracy_high"])
    assert point["interval"] == ""


def test_a_few_seeds_have_a_range_and_six_a_95_percent_interval():
    scores = [0.5, 0.52, 0.54, 0.5, 0.52, 0.54]
    rows = [run(seed=seed, test=score) for seed, score in enumerate(scores)]
    point = only(points(table(*rows[:5])))
    assert (point["test_accuracy_low"], point["test_accuracy_high"]) == (0.5, 0.54)
    assert point["interval"] == "range"
    point = only(points(table(*rows)))
    half = 2.5705818 * np.std(scores, ddof=1) / math.sqrt(6)
    assert point["test_accuracy_low"] == pytest.approx(0.52 - half, abs=1e-7)
    assert point["test_accuracy_high"] == pytest.approx(0.52 + half, abs=1e-7)
    assert point["interval"] == "95%"


def test_a_point_says_how_many_seeds_learned():
    rows = [run(seed=seed, test=score) for seed, score in enumerate((0.55, 0.54, 0.06))]
    assert only(points(table(*rows)))["learned"] == 2


def test_segments_are_averaged_over_seeds():
    point = only(
        points(table(run(seed=0, test=0.4), run(seed=1, test=0.8), run(seed=2, status="failed")))
    )
    segments = on_test(point["segments"])
    assert [segment["options"]["pairs"] for segment in segments] == [4, 8, 16, 32, 64, 128, 256]
    assert segments[0]["accuracy"] == pytest.approx(0.6)


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


def stands(*rows):
    made = points(table(*rows))
    return dict(zip(made["architecture"], standing(made), strict=True))


def test_a_star_is_hollow_where_the_interval_of_a_smaller_point_reaches_it():
    small = [run("mamba", 0.6 + 0.1 * seed, seed=seed, state_bytes=10) for seed in range(2)]
    clear = [run("based", 0.8 + 0.1 * seed, seed=seed, state_bytes=20) for seed in range(2)]
    near = [run("based", 0.69 + 0.1 * seed, seed=seed, state_bytes=20) for seed in range(2)]
    assert stands(*small, *clear) == {"mamba": "clear", "based": "clear"}
    assert stands(*small, *near) == {"mamba": "clear", "based": "within noise"}


def test_a_larger_point_never_makes_a_star_hollow():
    larger = run("based", 0.6, state_bytes=20)
    assert stands(run("mamba", 0.6, state_bytes=10), larger) == {"mamba": "clear", "based": ""}


def test_a_single_seed_counts_as_five_hundredths_either_way():
    one = run("mamba", 0.6, state_bytes=10)
    assert stands(one, run("based", 0.69, state_bytes=20))["based"] == "within noise"
    assert stands(one, run("based", 0.71, state_bytes=20))["based"] == "clear"


def test_noise_is_compared_within_an_experiment():
    made = points(table(run("mamba", 0.6), run("mamba", 0.6, vocab_size=64)))
    assert not within_noise(made).any()


def test_points_survive_a_file(tmp_path):
    made = points(table(run(test=0.5, width=1), run(test=0.6, width=2)))
    flat(made).to_parquet(tmp_path / "points.parquet")
    again = pd.read_parquet(tmp_path / "points.parquet")
    assert nested(again).loc[0, "knobs"] == {"width": 1}
    assert nested(again)["segments"].tolist() == made["segments"].tolist()
    pd.testing.assert_frame_equal(frontier(again)[COLUMNS[:3]], frontier(made)[COLUMNS[:3]])
