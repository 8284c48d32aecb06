"""Rows at a few positions of each sequence."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["rows_at"]


def rows_at(x: Tensor, positions: Tensor, backend: str = "auto") -> Tensor:
    """x[b, positions[b, q]]; the gradients at equal positions add up.

    Args:
        x: (batch, length, …).
        positions: (batch, queries) int64 in 0 … length-1, in any order.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, queries, …).
    """
    y: Tensor = dispatch.implementation("rows_at", backend, x)(x, positions)
    return y
