import math

import pytest
import torch
from comparing import check, random

from recall_bench.kernels.taylor_attention import (
    TaylorState,
    feature_map,
    naive,
    packed_size,
    reference,
    taylor_attention,
)


def inputs(length, d=4, dv=3, batch=2, heads=2, dtype=torch.float64):
    return [random(batch, length, heads, n, seed=i, dtype=dtype) for i, n in enumerate((d, d, dv))]


def closed_form(q, k, v):
    """All scores at once."""
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


@pytest.mark.parametrize("length", [1, 8, 9, 21])
@pytest.mark.usefixtures("small_blocks")
def test_chunks_equal_the_recurrence(length):
    _, state = naive.taylor_attention(*inputs(3))

    def run(function, **options):
        def call(q, k, v, kv, z):
            y, new = function(q, k, v, initial_state=TaylorState(kv, z), **options)
            return y, *new

        return call

    check(
        run(taylor_attention, return_state=True),
        run(naive.taylor_attention),
        [*inputs(length), *state],
        1e-10,
        ("q", "k", "v", "kv", "z"),
    )


@pytest.mark.parametrize("length", [64, 511, 512, 513, 1030])
def test_the_block_sizes_in_use_equal_the_closed_form(length):
    q, k, v = inputs(length, batch=1)
    torch.testing.assert_close(
        taylor_attention(q, k, v), closed_form(q, k, v), rtol=1e-10, atol=1e-10
    )


def test_the_recurrence_is_attention_with_the_dense_features_of_the_paper():
    q, k, v = inputs(20, d=5)
    phi_q, phi_k = dense_features(q), dense_features(k)
    S = torch.einsum("blhp,blhv->blhpv", phi_k, v).cumsum(1)
    z = phi_k.cumsum(1)
    expected = torch.einsum("blhp,blhpv->blhv", phi_q, S) / (phi_q * z).sum(-1, keepdim=True)
    y, _ = naive.taylor_attention(q, k, v)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(y, closed_form(q, k, v), rtol=1e-10, atol=1e-10)


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
        y.double(), closed_form(q.double(), k.double(), v.double()), rtol=1e-4, atol=1e-5
    )
    assert state.kv.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_float32(dtype):
    q, k, v = inputs(600, d=16, dtype=dtype)
    y, state = taylor_attention(q, k, v, return_state=True)
    assert y.dtype == dtype
    assert (state.kv.dtype, state.z.dtype) == (torch.float32, torch.float32)
    exact = closed_form(q.double(), k.double(), v.double())
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=1e-3)


def test_autocast_does_not_lower_the_precision():
    q, k, v = inputs(40, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = taylor_attention(q, k, v)
    assert torch.equal(inside, taylor_attention(q, k, v))
