"""A linear map that computes its gradients in few passes; mixers mostly consist of linear maps."""

from collections.abc import Sequence

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["linear", "linear_parts"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, backend: str = "auto") -> Tensor:
    """x weight^T + bias, as `torch.nn.functional.linear`.

    Under autocast the products take its dtype, and gradients of weights keep the weights' dtype.

    Args:
        x: (…, D).
        weight: (M, D).
        bias: (M,) or None.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, M).
    """
    return dispatch.implementation("linear", backend, x)(x, weight, bias)


def linear_parts(
    x: Tensor,
    weight: Tensor,
    sizes: Sequence[int],
    bias: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, ...]:
    """`linear`, split into parts of ``sizes`` features, which sum to M: views of one tensor.

    The backward pass reads the parts' gradients separately; that of a split would first copy them
    into one tensor.

    Returns:
        (…, size) for each size. Do not change them in place.
    """
    run = dispatch.implementation("linear", backend, x, "linear_parts")
    parts: tuple[Tensor, ...] = run(x, weight, tuple(sizes), bias)
    return parts
