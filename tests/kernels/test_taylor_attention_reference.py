import math

import pytest
import torch

from recall_bench.kernels.taylor_attention import (
    empty_state,
    feature_map,
    packed_size,
    reference,
    taylor_attention,
    taylor_attention_step,
)


def inputs(length, d=4, dv=3, batch=2, heads=2, dtype=torch.float64, grad=False, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, length, heads, n, generator=g, dtype=torch.float64)
        .to(dtype)
        .requires_grad_(grad)
        for n in (d, d, dv)
    ]


def naive(q, k, v):
    """The closed form, written down: all scores at once."""
    s = torch.einsum("blhd,bmhd->bhlm", q, k) / math.sqrt(q.shape[-1])
    weights = (1 + s + s**2 / 2).tril()
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-12)
    return torch.einsum("bhlm,bmhv->blhv", weights, v)


def dense_features(x):
    """phi as the paper writes it, with all d^2 products."""
    d = x.shape[-1]
    products = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2 * d)
    return torch.cat([torch.ones_like(x[..., :1]), x / d**0.25, products], -1)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 8)
    monkeypatch.setattr(reference, "ROWS", 3)


@pytest.mark.parametrize("d", [1, 2, 3, 8, 16, 23])
def test_packed_features_give_the_second_order_taylor_expansion(d):
    x, y = torch.randn(2, 50, d, dtype=torch.float64)
    s = (x * y).sum(-1) / math.sqrt(d)
    assert feature_map(x).shape == (50, packed_size(d))
    torch.testing.assert_close((feature_map(x) * feature_map(y)).sum(-1), 1 + s + s**2 / 2)
    torch.testing.assert_close((dense_features(x) * dense_features(y)).sum(-1), 1 + s + s**2 / 2)


def test_packed_sizes_are_those_of_the_paper():
    assert [packed_size(d) for d in (8, 16, 24)] == [45, 153, 325]


def test_features_come_in_the_documented_order():
    a, b, c, d = x = torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64)
    squares, products = 1 / math.sqrt(2 * 4), 1 / math.sqrt(4)
    rolled_by_1 = torch.stack([a * d, b * a, c * b, d * c])
    rolled_by_2 = torch.stack([a * c, b * d])
    expected = torch.cat(
        [
            torch.ones(1, dtype=torch.float64),
            x / 4**0.25,
            x * x * squares,
            rolled_by_1 * products,
            rolled_by_2 * products,
        ]
    )
    torch.testing.assert_close(feature_map(x), expected)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 511, 512, 513, 1030])
def test_output_equals_the_closed_form_at_awkward_lengths(length):
    q, k, v = inputs(length, batch=1)
    torch.testing.assert_close(taylor_attention(q, k, v), naive(q, k, v), rtol=1e-10, atol=1e-10)


def test_output_equals_attention_with_the_dense_features_of_the_paper():
    q, k, v = inputs(20, d=5)
    phi_q, phi_k = dense_features(q), dense_features(k)
    S = torch.einsum("blhp,blhv->blhpv", phi_k, v).cumsum(1)
    z = phi_k.cumsum(1)
    expected = torch.einsum("blhp,blhpv->blhv", phi_q, S) / (phi_q * z).sum(-1, keepdim=True)
    torch.testing.assert_close(taylor_attention(q, k, v), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [1, 8, 9, 30])
@pytest.mark.usefixtures("small_blocks")
def test_gradients_equal_those_of_the_closed_form(length):
    tensors = inputs(length, grad=True)
    weight = torch.randn_like(tensors[2])
    ours = torch.autograd.grad((taylor_attention(*tensors) * weight).sum(), tensors)
    theirs = torch.autograd.grad((naive(*tensors) * weight).sum(), tensors)
    for name, got, expected in zip("qkv", ours, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=f"gradient of {name}")


@pytest.mark.usefixtures("small_blocks")
def test_gradients_flow_through_the_states():
    def run(q, k, v, kv, z):
        y, state = taylor_attention(
            q, k, v, initial_state=reference.TaylorState(kv, z), return_state=True
        )
        return y, *state

    start = taylor_attention(*inputs(3, d=2, dv=2, heads=1, seed=1), return_state=True)[1]
    tensors = [*inputs(10, d=2, dv=2, heads=1), *start]
    assert torch.autograd.gradcheck(run, [x.detach().requires_grad_() for x in tensors])


@pytest.mark.parametrize("length", [1, 7, 8, 9, 21])
@pytest.mark.usefixtures("small_blocks")
def test_steps_reproduce_the_parallel_form_and_its_state(length):
    q, k, v = inputs(length)
    y, state = taylor_attention(q, k, v, return_state=True)
    carried = empty_state(2, 2, 4, 3, dtype=q.dtype, device=q.device)
    for t in range(length):
        y_t, carried = taylor_attention_step(q[:, t], k[:, t], v[:, t], carried)
        torch.testing.assert_close(y_t, y[:, t], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(carried, state, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cut", [0, 1, 8, 13, 20])
@pytest.mark.usefixtures("small_blocks")
def test_a_sequence_may_be_cut_anywhere(cut):
    q, k, v = inputs(20)
    whole, end = taylor_attention(q, k, v, return_state=True)
    first, state = taylor_attention(q[:, :cut], k[:, :cut], v[:, :cut], return_state=True)
    second, state = taylor_attention(
        q[:, cut:], k[:, cut:], v[:, cut:], initial_state=state, return_state=True
    )
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state, end, rtol=1e-9, atol=1e-9)


def test_an_empty_sequence_gives_nothing_and_an_empty_state():
    q, k, v = inputs(0)
    y, state = taylor_attention(q, k, v, return_state=True)
    assert y.shape == (2, 0, 2, 3)
    torch.testing.assert_close(state, empty_state(2, 2, 4, 3, dtype=q.dtype, device=q.device))


def test_a_step_leaves_its_state_as_it_was():
    q, k, v = (x[:, 0] for x in inputs(1))
    state = empty_state(2, 2, 4, 3, dtype=q.dtype, device=q.device)
    taylor_attention_step(q, k, v, state)
    assert not state.kv.any()
    assert not state.z.any()


def test_one_token_returns_its_value_even_where_its_weight_is_smallest():
    q, k, v = inputs(1)
    s = (q * k).sum(-1, keepdim=True) / 2
    torch.testing.assert_close(taylor_attention(q, -k / s, v), v)


@pytest.mark.parametrize("size", [0.0, 1e-20, 50.0])
def test_extreme_scores_stay_accurate_in_float32(size):
    q, k, v = inputs(200, d=16, dtype=torch.float32)
    s = torch.einsum("blhd,bmhd->bhlm", q, k) / 4
    factor = math.sqrt(size / s.abs().max().item())
    q, k = q * factor, k * factor
    y, state = taylor_attention(q, k, v, return_state=True)
    torch.testing.assert_close(
        y.double(), naive(q.double(), k.double(), v.double()), rtol=1e-4, atol=1e-5
    )
    assert state.kv.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float32(dtype):
    q, k, v = inputs(600, d=16, dtype=dtype)
    y, state = taylor_attention(q, k, v, return_state=True)
    assert y.dtype == dtype
    assert (state.kv.dtype, state.z.dtype) == (torch.float32, torch.float32)
    exact = naive(q.double(), k.double(), v.double())
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=1e-3)


def test_autocast_does_not_lower_the_precision():
    q, k, v = inputs(40, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = taylor_attention(q, k, v)
    assert torch.equal(inside, taylor_attention(q, k, v))
