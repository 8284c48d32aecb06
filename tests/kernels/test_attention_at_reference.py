import math

import pytest
import torch

from recall_bench.kernels.attention import attention
from recall_bench.kernels.attention_at import attention_at
from recall_bench.kernels.sliding_window_attention import sliding_window_attention


def inputs(queries, length, d=4, batch=2, heads=2):
    g = torch.Generator().manual_seed(0)
    q = torch.randn(batch, queries, heads, d, generator=g, dtype=torch.float64)
    kv = torch.randn(batch, length, 2, heads, d, generator=g, dtype=torch.float64)
    positions = torch.randint(length, (batch, queries), generator=g)
    return q.requires_grad_(), kv.requires_grad_(), positions


def naive(q, kv, positions, window):
    """One query at a time."""
    rows = []
    for b, row in enumerate(positions.tolist()):
        for i, t in enumerate(row):
            k, v = kv[b, max(0, t + 1 - window) : t + 1].unbind(1)
            s = torch.einsum("hd,mhd->hm", q[b, i], k) / math.sqrt(q.shape[-1])
            rows.append(torch.einsum("hm,mhd->hd", s.softmax(-1), v))
    return torch.stack(rows).view(q.shape)


@pytest.mark.parametrize("window", [None, 1, 3, 40])
@pytest.mark.parametrize(("queries", "length"), [(1, 1), (5, 9), (12, 4)])
def test_output_and_gradients_equal_one_query_at_a_time(queries, length, window):
    q, kv, positions = inputs(queries, length)
    ours = attention_at(q, kv, positions, window)
    theirs = naive(q, kv, positions, window or length)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(ours)
    gradients = torch.autograd.grad((ours * weight).sum(), (q, kv))
    expected = torch.autograd.grad((theirs * weight).sum(), (q, kv))
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [None, 4])
def test_at_every_position_it_is_the_attention_of_a_whole_sequence(window):
    q, kv, _ = inputs(11, 11)
    positions = torch.arange(11).expand(2, 11)
    k, v = kv.unbind(2)
    whole = attention(q, k, v) if window is None else sliding_window_attention(q, k, v, window)
    torch.testing.assert_close(attention_at(q, kv, positions, window), whole)


@pytest.mark.parametrize(("batch", "queries", "length"), [(0, 3, 5), (2, 0, 5), (2, 0, 0)])
def test_no_queries_have_no_answers_and_give_no_gradient(batch, queries, length):
    q = torch.randn(batch, queries, 2, 4, requires_grad=True)
    kv = torch.randn(batch, length, 2, 2, 4, requires_grad=True)
    y = attention_at(q, kv, torch.zeros(batch, queries, dtype=torch.int64))
    assert y.shape == q.shape
    y.sum().backward()
    assert not kv.grad.any()
