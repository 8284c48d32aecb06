"""Depthwise causal convolution with a kernel as long as the sequence may be."""

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["long_conv"]


def long_conv(x: Tensor, kernel: Tensor, backend: str = "auto") -> Tensor:
    """y_t = sum_i kernel_i x_{t-i}, i = 0 … min(t, M-1).

    Autocast is ignored: sums over whole sequences need the precision of the kernel.

    Args:
        x: (batch, heads, …, length), not empty.
        kernel: (heads, M), one for all sequences of a head; M may exceed the length.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, heads, …, length) in the dtype of the kernel.
    """
    y: Tensor = dispatch.implementation("long_conv", backend, kernel)(x, kernel)
    return y
