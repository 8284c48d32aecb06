"""A linear map that projects queries at selected positions only, keys and values everywhere."""

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
    """x weight^T + bias: the first ``size`` features at ``positions``, the rest everywhere.

    A negative ``size`` selects the last features instead. Under autocast the products
    take its dtype, and gradients of weights keep the weights' dtype.

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
