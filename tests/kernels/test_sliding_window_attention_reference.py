import math

import pytest
import torch
from comparing import check, random

from recall_bench.errors import UserError
from recall_bench.kernels.sliding_window_attention import (
    WindowState,
    naive,
    reference,
    sliding_window_attention,
)


def inputs(length, d=4, batch=2, heads=2, groups=2, dtype=torch.float64):
    shapes = [(batch, length, n, d) for n in (heads, groups, groups)]
    return [random(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]


def after(count, tensors, window):
    """The state after ``count`` tokens, and the tensors of those that follow."""
    earlier, later = [x[:, :count] for x in tensors], [x[:, count:] for x in tensors]
    return naive.sliding_window_attention(*earlier, window)[1], later


def hold(tensors, window, state=None):
    """Compare outputs, ring, and all gradients with the recurrence."""

    def run(function, **options):
        def call(q, k, v, *ring):
            given = None if state is None else WindowState(*ring, state.position)
            y, new = function(q, k, v, window, initial_state=given, **options)
            return y, new.keys, new.values

        return call

    ring = [] if state is None else [state.keys, state.values]
    check(
        run(sliding_window_attention, return_state=True),
        run(naive.sliding_window_attention),
        [*tensors, *ring],
        1e-10,
        ("q", "k", "v", "keys", "values")[: len(tensors) + len(ring)],
    )


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(reference, "SMALLEST_BLOCK", 4)


@pytest.mark.parametrize("window", [2, 4, 5, 40])
@pytest.mark.parametrize("length", [2, 8, 9, 23])
@pytest.mark.usefixtures("small_blocks")
def test_blocks_of_any_size_equal_the_recurrence(length, window):
    hold(inputs(length), window)


def test_a_window_of_one_token_gives_its_value():
    q, k, v = inputs(9)
    torch.testing.assert_close(sliding_window_attention(q, k, v, 1), v)


@pytest.mark.parametrize("window", [2, 8, 40])
@pytest.mark.parametrize("length", [1, 17])
@pytest.mark.parametrize("earlier", [1, 8, 21])
@pytest.mark.usefixtures("small_blocks")
def test_blocks_after_a_ring_equal_the_recurrence(earlier, length, window):
    state, later = after(earlier, inputs(earlier + length), window)
    hold(later, window, state)


@pytest.mark.parametrize("window", [8, 64, 100])
def test_the_block_sizes_in_use_equal_the_recurrence(window):
    hold(inputs(300, batch=1), window)


@pytest.mark.parametrize("length", [1, 7])
def test_rows_of_a_batch_may_stand_at_different_positions(length):
    q, k, v = inputs(6 + length)
    states = [after(n, [x[:1] for x in (q, k, v)], 4)[0] for n in (2, 5)]
    both = WindowState._make(torch.cat(x) for x in zip(*states, strict=True))
    hold([x[:, 6:] for x in (q, k, v)], 4, both)


def test_a_ring_may_be_given_by_the_names_of_its_parts():
    state, later = after(5, inputs(7), 4)
    y = sliding_window_attention(*later, 4, initial_state=state._asdict())
    assert torch.equal(y, sliding_window_attention(*later, 4, initial_state=state))


def test_the_ring_holds_window_slots_and_a_counter():
    q, k, v = inputs(21)
    _, state = sliding_window_attention(q, k, v, 8, return_state=True)
    assert state.keys.shape == state.values.shape == (2, 8, 2, 4)
    assert state.position.tolist() == [21, 21]
    assert torch.equal(state.keys[:, 20 % 8], k[:, 20])


@pytest.mark.parametrize("length", [10, 200])
def test_a_query_sees_exactly_window_keys_the_current_one_included(length):
    window = 5
    q, k, v = inputs(length, batch=1, heads=1, groups=1)
    v.requires_grad_()
    for t in (0, 3, window, length - 1):
        (gradient,) = torch.autograd.grad(sliding_window_attention(q, k, v, window)[0, t].sum(), v)
        seen = gradient.abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        assert seen == list(range(max(0, t - window + 1), t + 1))


@pytest.mark.parametrize("window", [3, 500])
def test_extreme_scores_stay_accurate_in_float32(window):
    q, k, v = inputs(200, d=16, dtype=torch.float32)
    factor = math.sqrt(50 / (torch.einsum("blhd,bmhd->bhlm", q, k) / 4).abs().max().item())
    q, k = q * factor, k * factor
    exact, _ = naive.sliding_window_attention(q.double(), k.double(), v.double(), window)
    torch.testing.assert_close(
        sliding_window_attention(q, k, v, window).double(), exact, rtol=1e-3, atol=1e-4
    )


def test_bfloat16_stays_near_the_exact_result():
    q, k, v = inputs(200, d=16, dtype=torch.bfloat16)
    y = sliding_window_attention(q, k, v, 8)
    assert y.dtype == torch.bfloat16
    exact, _ = naive.sliding_window_attention(q.double(), k.double(), v.double(), 8)
    torch.testing.assert_close(y.double(), exact, rtol=2e-2, atol=2e-2)


def test_a_backend_without_an_initial_state_is_passed_over_where_one_is_given():
    pytest.importorskip("triton")
    state, later = after(5, inputs(7, dtype=torch.float32), 4)
    with pytest.raises(UserError, match="it starts from the first token and takes no initial"):
        sliding_window_attention(*later, 4, initial_state=state, backend="triton")


def test_arguments_that_make_no_sense_are_refused():
    q, k, v = inputs(3)
    state, _ = after(3, (q, k, v), 4)
    with pytest.raises(ValueError, match=r"window must be at least 1.* Got 0"):
        sliding_window_attention(q, k, v, 0)
    with pytest.raises(ValueError, match=r"heads must be a multiple .* Got 2 and 3"):
        sliding_window_attention(q, *inputs(3, groups=3)[1:], 4)
    with pytest.raises(ValueError, match=r"initial_state\.keys must have shape \(2, 5, 2, 4\)"):
        sliding_window_attention(q, k, v, 5, initial_state=state)
