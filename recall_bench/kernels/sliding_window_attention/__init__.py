"""Exact softmax attention to the last ``window`` keys, the current one included."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator
from recall_bench.kernels.sliding_window_attention.ring import WindowState

__all__ = ["WindowState", "sliding_window_attention"]


@operator()
def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Layout:
    """softmax(q_t.k_j / sqrt(d)) over the ``window`` keys t - window < j <= t.

    Args:
        q: (batch, length, heads, d); any length, also 0.
        k, v: (batch, length, key-value heads, d); heads is a multiple of key-value heads.
        window: the number of keys a query sees, its own included; at least 1.

    Returns:
        (batch, length, heads, d). The state is a `WindowState`: keys and values
        (batch, window, key-value heads, d) in a ring, and the position (batch,).
    """
    if window < 1:
        raise ValueError(
            f"sliding_window_attention: window must be at least 1, the current key. Got {window}."
        )
    sizes = Shapes("sliding_window_attention")
    sizes.check("q", q, "batch length heads d")
    sizes.check("k", k, "batch length key-value-heads d")
    sizes.check("v", v, "batch length key-value-heads d")
    sizes.check_groups("heads", "key-value-heads")
    shape = sizes["batch"], window, sizes["key-value-heads"], sizes["d"]
    position = Zeros((sizes["batch"],), torch.int64)
    return WindowState._make((Zeros(shape, k.dtype), Zeros(shape, v.dtype), position))
