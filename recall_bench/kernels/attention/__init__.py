"""Causal softmax attention to every token so far."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor, backend: str = "auto") -> Tensor:
    """softmax(q_t.k_j / sqrt(d)) over j <= t (arXiv 1706.03762, equation 1).

    Args:
        q, k, v: (batch, length, heads, d); any length, also 0.
        backend: "auto", "reference", which is PyTorch's own choice, or "flash-attn".

    Returns:
        (batch, length, heads, d).
    """
    y: Tensor = dispatch.implementation("attention", backend, q)(q, k, v)
    return y
