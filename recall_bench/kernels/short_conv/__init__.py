"""Depthwise causal convolution with a short kernel, its gate and its residual connection."""

from typing import Literal

from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["short_conv"]


@operator()
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    gate: Tensor | None = None,
    residual: bool = False,
) -> Layout:
    """y_t = activation(bias + sum_i weight[:, K-1-i] x_{t-i}) gate_t + x_t, i = 0 … K-1.

    The gated layer of Based (arXiv 2402.18668, section 3 and appendix) has no activation, a linear
    map of x as gate, and the residual connection; Mamba's convolution has silu alone.

    Args:
        x: (batch, length, width); any length, also 0.
        weight: (width, K).
        bias: (width,) or None.
        activation: None or "silu".
        gate: (batch, length, width), multiplied in after the activation; no gate if None.
        residual: whether to add x.

    Returns:
        (batch, length, width) in the dtype of x. The state is the last K-1 inputs
        (batch, K-1, width), the oldest first.
    """
    sizes = Shapes("short_conv")
    sizes.check("x", x, "batch length width")
    sizes.check("weight", weight, "width kernel")
    if bias is not None:
        sizes.check("bias", bias, "width")
    if gate is not None:
        sizes.check("gate", gate, "batch length width")
    return Zeros((sizes["batch"], sizes["kernel"] - 1, sizes["width"]), x.dtype)
