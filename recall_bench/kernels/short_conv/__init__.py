"""Depthwise causal convolution with a short kernel."""

from typing import Literal, overload

from torch import Tensor

from recall_bench.kernels import dispatch

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
) -> tuple[Tensor, Tensor]: ...
def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    initial_state: Tensor | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """y_t = activation(bias + sum_i weight[:, K-1-i] x_{t-i}), i = 0 … K-1.

    Args:
        x: (batch, length, width); any length, also 0.
        weight: (width, K).
        bias: (width,) or None.
        activation: None or "silu".
        initial_state: the K-1 inputs before x, (batch, K-1, width); zeros if None.
        return_state: also return the last K-1 inputs.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, length, width), with the state if asked for.
    """
    run = dispatch.implementation("short_conv", backend, x)
    return run(x, weight, bias, activation, initial_state=initial_state, return_state=return_state)


def short_conv_step(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["silu"] | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """One token of `short_conv`: x (batch, width), state (batch, K-1, width), the oldest first.

    Returns the output (batch, width) and the new state; ``state`` is not changed.
    """
    return dispatch.implementation("short_conv_step", backend, x)(
        x, state, weight, bias, activation
    )
