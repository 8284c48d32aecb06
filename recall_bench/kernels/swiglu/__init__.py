"""The gate of a SwiGLU layer: multiplies both halves of one projection in one pass."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["swiglu"]


def swiglu(x: Tensor, backend: str = "auto") -> Tensor:
    """silu(gate) * value, where x is [gate, value] (arXiv 2002.05202, equation 5).

    It takes the halves as one tensor, so that their gradients are one tensor too.

    Args:
        x: (…, 2 H), the gates before the values.
        backend: "auto", "reference" or "triton".

    Returns:
        (…, H) in the dtype of x. Raises `ValueError` if the last dimension of x is odd.
    """
    if x.shape[-1] % 2:
        raise ValueError(
            f"x must hold a gate for each value: an even last dimension. Got {tuple(x.shape)}"
        )
    y: Tensor = dispatch.implementation("swiglu", backend, x)(x)
    return y
