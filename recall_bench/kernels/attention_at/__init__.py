"""Causal softmax attention of a few queries to the tokens up to their positions."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["attention_at"]


def attention_at(
    q: Tensor, kv: Tensor, positions: Tensor, window: int | None = None, backend: str = "auto"
) -> Tensor:
    """softmax(q_i.k_j / sqrt(d)) over the keys j at or before the position of query i.

    Keys and values are one tensor, the output of one projection, and so is their gradient.

    Args:
        q: (batch, queries, heads, d); any number of queries, also 0.
        kv: (batch, length, 2, heads, d), keys first.
        positions: (batch, queries) int64 in 0 … length-1, in any order.
        window: the number of keys a query sees, including the one at its position; all if None.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, queries, heads, d).
    """
    y: Tensor = dispatch.implementation("attention_at", backend, q)(q, kv, positions, window)
    return y
