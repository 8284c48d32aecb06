import math

import numpy as np
import pytest

from recall_bench.frontier.intervals import heading_of, interval, learned, student_quantile


@pytest.mark.parametrize(
    ("degrees", "probability", "value"),
    [
        (1, 0.975, 12.7062047364),
        (2, 0.975, 4.3026527297),
        (3, 0.975, 3.1824463053),
        (5, 0.975, 2.5705818356),
        (6, 0.975, 2.4469118511),
        (9, 0.975, 2.2621571628),
        (30, 0.975, 2.0422724563),
        (120, 0.975, 1.9799304051),
        (5, 0.995, 4.0321429836),
        (10, 0.9, 1.3721836411),
    ],
)
def test_the_quantiles_are_those_of_published_tables(degrees, probability, value):
    assert student_quantile(probability, degrees) == pytest.approx(value, abs=1e-8)


def test_the_quantile_approaches_the_normal_one():
    assert student_quantile(0.975, 10_000) == pytest.approx(1.9599639845, abs=3e-4)


def test_one_score_has_no_interval():
    low, high, name = interval(np.array([0.5]))
    assert math.isnan(low)
    assert math.isnan(high)
    assert name == ""


def test_up_to_five_scores_give_their_range():
    assert interval(np.array([0.98, 0.876, 0.985, 0.9, 0.95])) == (0.876, 0.985, "range")


def test_an_interval_never_leaves_what_an_accuracy_can_be():
    low, high, name = interval(np.array([0.0, 1.0, 0.0, 1.0, 0.9, 0.1]))
    assert (low, high, name) == (0.0, 1.0, "95%")


def test_the_lower_end_is_wider_where_three_or_more_candidates_ended_in_the_race():
    scores = np.linspace(0.5, 0.6, 6)
    assert interval(scores, 2) == interval(scores, 1)
    low, high, _ = interval(scores, 4)
    error = scores.std(ddof=1) / math.sqrt(6)
    assert low == pytest.approx(scores.mean() - student_quantile(0.9875, 5) * error)
    assert high == interval(scores).high


def test_intervals_are_named_for_what_they_are():
    assert heading_of(["", "range"]) == "range"
    assert heading_of(["95%", ""]) == "95% interval"
    assert heading_of(["range", "95%"]) == "range, 95%*"


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ((0.55, 0.06, 0.54), 2),
        ((0.46, 0.22, 0.035), 1),
        ((0.5, 0.46, 0.45), 3),
        ((0.9, 0.9, 0.0), 2),
        ((0.4,), 1),
        ((), 0),
    ],
)
def test_seeds_above_the_widest_gap_learned(scores, count):
    assert learned(np.array(scores)) == count
