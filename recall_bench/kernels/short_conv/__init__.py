"""Depthwise causal convolution with a short kernel, its gate and its residual connection."""

from typing import Literal, overload

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["short_conv", "short_conv_step"]


@overload
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_state: Literal[False] = False,
    backend: str = "auto",
    *,
    gate: Tensor | None = None,
    residual: bool = False,
) -> Tensor: ...
@overload
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    *,
    return_state: Literal[True],
    backend: str = "auto",
    gate: Tensor | None = None,
    residual: bool = False,
) -> tuple[Tensor, Tensor]: ...
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_state: bool = False,
    backend: str = "auto",
    *,
    gate: Tensor | None = None,
    residual: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y_t = activation(bias + sum_i weight[:, K-1-i] x_{t-i}) gate_t + x_t, i = 0 … K-1.

    The gated layer of Based (arXiv 2402.18668, section 3 and appendix) has no activation, a linear
    map of x as gate, and the residual connection; Mamba's convolution has silu alone.

    Args:
        x: (batch, length, width); any length, also 0.
        weight: (width, K).
        bias: (width,) or None.
        activation: None or "silu".
        initial_state: the K-1 inputs before x, (batch, K-1, width); zeros if None.
        return_state: also return the last K-1 inputs.
        backend: "auto", "reference" or "triton".
        gate: (batch, length, width), multiplied in after the activation; left out if None.
        residual: add x, which is left out otherwise.

    Returns:
        (batch, length, width) in the dtype of x, with the state if asked for.
    """
    run = dispatch.implementation("short_conv", backend, x)
    return run(x, weight, bias, activation, initial_state, return_state, gate, residual)


def short_conv_step(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    backend: str = "auto",
    *,
    gate: Tensor | None = None,
    residual: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of `short_conv`: x and gate (batch, width), state (batch, K-1, width), the oldest
    first.

    Returns the output (batch, width) and the new state; ``state`` is not changed.
    """
    run = dispatch.implementation("short_conv_step", backend, x)
    return run(x, state, weight, bias, activation, gate, residual)
