"""Rotary position embedding: queries and keys turned by their positions, in one pass."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["rotary"]


def rotary(x: Tensor, positions: Tensor, backend: str = "auto") -> Tensor:
    """Each pair (x_i, x_{i+d/2}) turned by the angle position * 10000^(-2i/d).

    RoFormer (arXiv 2104.09864, section 3.2), with pairs half a head apart.

    Args:
        x: (…, tokens, heads, d) of any strides, d even: (batch, length, heads, d), or
            (batch, heads, d) of one token each.
        positions: int64, broadcast to the axes before heads: (length,) for x (batch, length,
            heads, d), (batch,) for x (batch, heads, d).
        backend: "auto", "reference" or "triton".

    Returns:
        The shape and dtype of x, contiguous.
    """
    y: Tensor = dispatch.implementation("rotary", backend, x)(x, positions)
    return y
