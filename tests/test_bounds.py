import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recall_bench.bounds import (
    draw_order,
    efficiency,
    mean_recall_ceiling,
    mean_required_bits,
    recall_ceiling,
    required_bits,
    window_ceiling,
)

FIGURE_2 = [(64, 4), (64, 8), (64, 16), (128, 32), (256, 64), (512, 128), (1024, 256)]

values = st.integers(2, 10_000)
pairs = st.integers(1, 512)
bits_a_pair = st.floats(0, 20)


def test_ceiling_for_4096_values_matches_the_hand_derived_numbers():
    ceiling = recall_ceiling(np.array([1, 2, 4, 6, 8, 10, 11]), 1, 4096)
    np.testing.assert_allclose(
        ceiling, [0.130, 0.232, 0.415, 0.582, 0.736, 0.878, 0.943], atol=5e-4
    )


def test_mean_ceiling_over_figure_2_matches_the_hand_derived_numbers():
    ceiling = mean_recall_ceiling(np.array([256, 512, 1024, 2048]), FIGURE_2, 4096)
    np.testing.assert_allclose(ceiling, [0.645, 0.769, 0.879, 0.962], atol=5e-4)


def test_exact_recall_of_distinct_values_needs_the_logarithm_of_their_arrangements():
    needed = required_bits(1.0, np.array([64, 256]), 4096, replacement=False)
    assert needed.astype(int).tolist() == [767, 3060]
    arrangements = math.factorial(12) // math.factorial(12 - 5)
    assert required_bits(1.0, 5, 12, replacement=False) == pytest.approx(math.log2(arrangements))


def test_exact_recall_of_independent_values_needs_log2_q_a_pair():
    assert required_bits(1.0, 64, 4096) == pytest.approx(768)
    assert recall_ceiling(768, 64, 4096) == 1.0


def test_no_memory_leaves_chance():
    assert recall_ceiling(0, 7, 50) == pytest.approx(1 / 50)


@given(bits_a_pair, bits_a_pair, pairs, values, st.booleans())
def test_ceiling_rises_with_bits_and_stays_between_chance_and_one(one, other, D, q, replacement):
    D = min(D, q)
    low, high = sorted((D * one, D * other))
    lower = recall_ceiling(low, D, q, replacement=replacement)
    upper = recall_ceiling(high, D, q, replacement=replacement)
    assert 1 / q <= lower <= upper <= 1


@given(st.floats(0, 1), pairs, values, st.booleans())
def test_ceiling_inverts_required_bits(fraction, D, q, replacement):
    D = min(D, q)
    accuracy = 1 / q + fraction * (1 - 1 / q)
    needed = required_bits(accuracy, D, q, replacement=replacement)
    again = recall_ceiling(needed, D, q, replacement=replacement)
    assert again >= accuracy - 1e-6
    if needed > 0 and replacement:
        np.testing.assert_allclose(required_bits(again, D, q), needed, atol=1e-6 * D)


@given(bits_a_pair, pairs, values)
def test_distinct_values_raise_the_ceiling(bits, D, q):
    D = min(D, q)
    distinct = recall_ceiling(D * bits, D, q, replacement=False)
    assert distinct >= recall_ceiling(D * bits, D, q) - 1e-12


def test_storing_a_fraction_and_guessing_the_rest_stays_below_the_ceiling():
    bits = np.linspace(0, 12, 25)
    stored = bits / 12
    assert (stored + (1 - stored) / 4096 <= recall_ceiling(bits, 1, 4096) + 1e-12).all()


def test_scalars_give_floats_and_arrays_broadcast():
    assert type(recall_ceiling(100, 16, 64)) is float
    assert recall_ceiling(np.ones((3, 1)), np.array([1, 2]), 64).shape == (3, 2)


def test_efficiency_is_the_share_of_the_state_that_recall_needs():
    needed = required_bits(0.9, 64, 4096)
    assert efficiency(0.9, 2 * needed, 64, 4096) == pytest.approx(0.5)


def test_mean_required_bits_inverts_the_mean_ceiling():
    needed = mean_required_bits(0.9, FIGURE_2, 4096, replacement=False)
    ceiling = mean_recall_ceiling(needed, FIGURE_2, 4096, replacement=False)
    assert ceiling == pytest.approx(0.9, abs=1e-6)
    assert mean_required_bits(1.0, FIGURE_2, 4096) == pytest.approx(256 * 12)
    assert mean_required_bits(0.0, FIGURE_2, 4096) == 0


def test_window_ceiling_matches_the_simulated_table():
    windows = np.array([8, 16, 32, 64, 128, 256, 512, 1024])
    table = [0.060, 0.143, 0.313, 0.514, 0.655, 0.797, 0.936, 1.0]
    np.testing.assert_allclose(window_ceiling(windows, FIGURE_2), table, atol=2e-3)


def test_a_convolution_of_kernel_three_adds_up_to_two_positions():
    assert window_ceiling(8, FIGURE_2, shift=2) == pytest.approx(0.080, abs=1e-3)


def test_window_ceiling_is_zero_below_the_nearest_value_and_one_at_the_full_length():
    # With two pairs in eight tokens the nearest query, at 4, looks back to the value at 3.
    assert window_ceiling(1, [(8, 2)]) == 0
    assert 0 < window_ceiling(2, [(8, 2)]) < 1
    assert window_ceiling(8, [(8, 2)]) == pytest.approx(1)


@pytest.mark.parametrize("repeats", [1, 2])
def test_window_ceiling_counts_what_brute_force_counts(repeats):
    length, D, window, power = 24, 3, 9, 0.01
    slots = (length - 2 * D * repeats) // 2
    prefix = 2 * D * repeats
    reached = sum(
        chance * (prefix + 2 * slot - (prefix - 2 * D + 2 * i + 1) < window) / D
        for order, chance in all_draws(slots, D, power)
        for i, slot in enumerate(order)
    )
    assert window_ceiling(window, [(length, D)], power, repeats=repeats) == pytest.approx(reached)


@pytest.mark.parametrize("power", [-3.0, 0.01, 1.0, 4.0])
def test_draw_order_matches_enumeration(power):
    expected = np.zeros((6, 4))
    for order, chance in all_draws(6, 4, power):
        expected[order, range(4)] += chance
    np.testing.assert_allclose(draw_order(6, 4, power), expected, atol=1e-12)


def test_every_draw_takes_one_slot_and_no_slot_is_taken_twice():
    drawn = draw_order(100, 100)
    np.testing.assert_allclose(drawn.sum(0), 1, atol=1e-12)
    np.testing.assert_allclose(drawn.sum(1), 1, atol=1e-12)


def test_segments_may_be_mappings_and_objects():
    class Segment:
        length, pairs = 64, 4

    expected = window_ceiling(16, [(64, 4)])
    assert window_ceiling(16, [{"length": 64, "pairs": 4, "examples": 9}]) == expected
    assert window_ceiling(16, [Segment()]) == expected


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: recall_ceiling(-1, 4, 16), "state_bits must be at least 0"),
        (lambda: recall_ceiling(1, 0, 16), "pairs must be at least 1"),
        (lambda: recall_ceiling(1, 4, 1), "values must be at least 2"),
        (lambda: recall_ceiling(1, 17, 16, replacement=False), "cannot be drawn"),
        (lambda: required_bits(1.5, 4, 16), "accuracy must lie in"),
        (lambda: mean_required_bits(-0.5, FIGURE_2, 4096), "accuracy must lie in"),
        (lambda: window_ceiling(0, FIGURE_2), "window must be at least 1"),
        (lambda: window_ceiling(8, [(64, 17)]), "do not fit a length of 64"),
        (lambda: mean_recall_ceiling(8, [], 16), "No segments"),
    ],
)
def test_impossible_arguments_are_refused_with_what_was_expected(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def all_draws(slots, draws, power):
    """Every ordered draw without replacement and its probability."""
    weights = np.arange(1, slots + 1.0) ** (power - 1)
    for order in itertools.permutations(range(slots), draws):
        left, chance = weights.sum(), 1.0
        for slot in order:
            chance *= weights[slot] / left
            left -= weights[slot]
        yield list(order), chance
