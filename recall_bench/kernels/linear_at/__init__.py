"""A linear map of which some features are wanted at a few positions alone: queries, beside keys."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["linear_at"]


def linear_at(
    x: Tensor,
    positions: Tensor,
    weight: Tensor,
    size: int,
    bias: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """x weight^T + bias: the first ``size`` features at ``positions`` alone, the rest everywhere.

    Where ``size`` is negative, the last ones.

    Under autocast the products take its dtype, and weights keep gradients of their own.

    Args:
        x: (batch, length, D).
        positions: (batch, queries) int64 in 0 … length-1, in any order.
        weight: (M, D).
        bias: (M,) or None.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, queries, |size|) and (batch, length, M - |size|).
    """
    run = dispatch.implementation("linear_at", backend, x)
    few, rest = run(x, positions, weight, size, bias)
    return few, rest
