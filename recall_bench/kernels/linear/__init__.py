"""A linear map whose gradients come in few passes: what every mixer is mostly made of."""

from torch import Tensor

from recall_bench.kernels import dispatch

__all__ = ["linear"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, backend: str = "auto") -> Tensor:
    """x weight^T + bias, as `torch.nn.functional.linear`.

    Under autocast the products take its dtype, and weights keep gradients of their own.

    Args:
        x: (…, D).
        weight: (M, D).
        bias: (M,) or None.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, M).
    """
    return dispatch.implementation("linear", backend, x)(x, weight, bias)
