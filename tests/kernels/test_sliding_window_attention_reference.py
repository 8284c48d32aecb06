import math

import pytest
import torch

from recall_bench.kernels.sliding_window_attention import (
    reference,
    sliding_window_attention,
    sliding_window_attention_step,
    window_state,
)


def inputs(length, d=4, batch=2, heads=2, groups=None, dtype=torch.float64, grad=False):
    g = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, length, n, d, generator=g, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(grad)
        for n in (heads, groups or heads, groups or heads)
    ]


def naive(q, k, v, window):
    """One query at a time."""
    repeat = q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(repeat, 2), v.repeat_interleave(repeat, 2)
    outputs = []
    for t in range(q.shape[1]):
        start = max(0, t - window + 1)
        s = torch.einsum("bhd,bmhd->bhm", q[:, t], k[:, start : t + 1]) / math.sqrt(q.shape[-1])
        outputs.append(torch.einsum("bhm,bmhd->bhd", s.softmax(-1), v[:, start : t + 1]))
    return torch.stack(outputs, 1)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(reference, "SMALLEST_BLOCK", 4)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 7, 40])
@pytest.mark.parametrize("length", [1, 4, 8, 9, 23])
@pytest.mark.usefixtures("small_blocks")
def test_output_and_gradients_equal_one_query_at_a_time(length, window):
    tensors = inputs(length, grad=True)
    ours, theirs = sliding_window_attention(*tensors, window), naive(*tensors, window)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weight).sum(), tensors)
    expected = torch.autograd.grad((theirs * weight).sum(), tensors)
    for name, got, want in zip("qkv", gradients, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9, msg=f"gradient of {name}")


@pytest.mark.parametrize("window", [8, 64, 100, 500])
def test_output_is_right_at_the_block_sizes_in_use(window):
    q, k, v = inputs(300, batch=1)
    torch.testing.assert_close(
        sliding_window_attention(q, k, v, window), naive(q, k, v, window), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("length", [10, 200])
def test_a_query_sees_exactly_window_keys_the_current_one_included(length):
    window = 5
    q, k, v = inputs(length, batch=1, heads=1, grad=True)
    for t in (0, 3, window, length - 1):
        (gradient,) = torch.autograd.grad(sliding_window_attention(q, k, v, window)[0, t].sum(), v)
        seen = gradient.abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        assert seen == list(range(max(0, t - window + 1), t + 1))


@pytest.mark.parametrize("length", [5, 30])
@pytest.mark.usefixtures("small_blocks")
def test_heads_share_keys_and_values_in_groups(length):
    q, k, v = inputs(length, heads=6, groups=2)
    y = sliding_window_attention(q, k, v, 3)
    torch.testing.assert_close(y, naive(q, k, v, 3))
    step, _ = sliding_window_attention_step(
        q[:, -1], k[:, -1], v[:, -1], window_state(k[:, :-1], v[:, :-1], 3)
    )
    torch.testing.assert_close(step, y[:, -1])


@pytest.mark.parametrize("window", [1, 3, 9, 30])
@pytest.mark.usefixtures("small_blocks")
def test_steps_reproduce_the_parallel_form_and_its_ring(window):
    q, k, v = inputs(21)
    y = sliding_window_attention(q, k, v, window)
    state = window_state(k[:, :0], v[:, :0], window)
    for t in range(21):
        y_t, state = sliding_window_attention_step(q[:, t], k[:, t], v[:, t], state)
        torch.testing.assert_close(y_t, y[:, t], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(state, window_state(k[:, : t + 1], v[:, : t + 1], window))


def test_the_ring_holds_window_slots_and_a_counter():
    _, k, v = inputs(21)
    state = window_state(k, v, 8)
    assert state.keys.shape == state.values.shape == (2, 8, 2, 4)
    assert state.position.tolist() == [21, 21]
    assert torch.equal(state.keys[:, 20 % 8], k[:, 20])


def test_a_step_leaves_its_state_as_it_was():
    q, k, v = inputs(3)
    state = window_state(k, v, 2)
    before = [x.clone() for x in state]
    sliding_window_attention_step(q[:, 0], k[:, 0], v[:, 0], state)
    assert all(torch.equal(x, y) for x, y in zip(state, before, strict=True))


def test_rows_of_a_batch_may_stand_at_different_positions():
    q, k, v = inputs(6)
    states = [window_state(k[:1, :n], v[:1, :n], 4) for n in (2, 5)]
    both = reference.WindowState(*(torch.cat(x) for x in zip(*states, strict=True)))
    token = [x[:1, 5].expand(2, -1, -1) for x in (q, k, v)]
    y, _ = sliding_window_attention_step(*token, both)
    for row, state in enumerate(states):
        alone, _ = sliding_window_attention_step(*(x[:1] for x in token), state)
        torch.testing.assert_close(y[row], alone[0])


@pytest.mark.parametrize("window", [3, 500])
def test_extreme_scores_stay_accurate_in_float32(window):
    q, k, v = inputs(200, d=16, dtype=torch.float32)
    factor = math.sqrt(50 / (torch.einsum("blhd,bmhd->bhlm", q, k) / 4).abs().max().item())
    q, k = q * factor, k * factor
    exact = naive(q.double(), k.double(), v.double(), window)
    torch.testing.assert_close(
        sliding_window_attention(q, k, v, window).double(), exact, rtol=1e-3, atol=1e-4
    )


def test_bfloat16_stays_near_the_exact_result():
    q, k, v = inputs(200, d=16, dtype=torch.bfloat16)
    y = sliding_window_attention(q, k, v, 8)
    assert y.dtype == torch.bfloat16
    exact = naive(q.double(), k.double(), v.double(), 8)
    torch.testing.assert_close(y.double(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("window", [1, 5])
def test_an_empty_sequence_gives_nothing(window):
    assert sliding_window_attention(*inputs(0), window).shape == (2, 0, 2, 4)
