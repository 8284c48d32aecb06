import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recall_bench.frontier.race import margin, race

nan = float("nan")


def raced(*scores):
    return race(np.array(scores, dtype=float))


def test_a_candidate_leaves_when_it_lies_more_than_a_tenth_below_the_leader():
    found = raced([0.9], [0.8], [0.79])
    assert found.leader == 0
    assert found.racing.tolist() == [True, True, False]


def test_the_margin_grows_with_the_deviation_of_seeds():
    steady, wild = np.array([[0.8, 0.8], [0.7, 0.7]]), np.array([[0.9, 0.7], [0.7, 0.5]])
    assert margin(steady) == 0.1
    assert margin(wild) == pytest.approx(2 * np.sqrt(0.02))
    assert raced([0.9, 0.7], [0.65, 0.45]).racing.all()
    assert raced([0.8, 0.8], [0.65, 0.65]).racing.tolist() == [True, False]


def test_candidates_are_compared_on_the_seeds_that_they_share():
    found = raced([0.71, 0.0, 0.74], [0.70, nan, nan])
    assert found.leader == 0
    assert found.shared.tolist() == [True, False, False]
    assert found.waiting.tolist() == [False, True]
    assert raced([0.71, 0.0, 0.74], [0.70, 0.7, 0.7]).leader == 1


def test_a_candidate_that_left_holds_nobody_back():
    found = raced([0.9, 0.5], [0.88, 0.9], [0.3, nan])
    assert found.shared.tolist() == [True, True]
    assert found.leader == 1
    assert not found.waiting.any()


def test_the_earlier_of_equal_candidates_leads():
    assert raced([0.1 + 0.2, 0.3], [0.3, 0.3]).leader == 0
    assert raced([0.3, 0.3], [0.1 + 0.2, 0.3]).leader == 0


def test_a_candidate_without_a_score_waits_and_the_others_are_compared():
    found = race(np.array([[nan], [0.5], [0.9]]), started=np.ones((3, 1), dtype=bool))
    assert (found.leader, found.racing.tolist()) == (2, [True, False, True])
    assert found.waiting.tolist() == [True, False, False]


def test_where_no_seed_is_shared_the_seed_that_most_have_decides():
    found = raced([0.9, nan], [nan, 0.5], [nan, 0.6])
    assert found.leader == 2
    assert found.shared.tolist() == [False, True]
    assert found.waiting.tolist() == [True, True, True]


def test_without_any_score_the_first_candidate_stands_for_all():
    found = race(np.full((2, 1), nan), started=np.ones((2, 1), dtype=bool))
    assert found.leader == 0
    assert found.racing.all()
    assert found.waiting.all()
    assert not found.shared.any()


tables = arrays(
    float,
    st.tuples(st.integers(1, 5), st.integers(1, 4)),
    elements=st.sampled_from([nan, 0.0, 0.3, 0.5, 0.55, 0.6, 0.9]),
)


@given(tables)
def test_the_leader_is_in_the_race_and_no_compared_rival_has_a_higher_mean(scores):
    found = race(scores)
    assert found.racing[found.leader]
    if found.shared.any():
        means = scores[:, found.shared].mean(axis=1)
        rivals = found.racing & ~np.isnan(means)
        assert means[found.leader] >= means[rivals].max() - 1e-12


@given(tables.filter(lambda scores: not np.isnan(scores).any()))
def test_in_a_full_table_the_highest_mean_wins_and_nobody_waits(scores):
    found = race(scores)
    assert scores[found.leader].mean() == pytest.approx(scores.mean(axis=1).max())
    assert found.shared.all()
    assert not found.waiting.any()


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_the_seeds_changes_neither_the_race_nor_its_leader(scores, random):
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    one, other = race(scores), race(scores[:, order])
    if one.shared.sum() > 1 or not np.isnan(scores).any():
        assert one.leader == other.leader
        assert one.racing.tolist() == other.racing.tolist()
