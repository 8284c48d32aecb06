"""Mamba's selective scan: a diagonal state space model whose steps depend on the input."""

from typing import Literal, overload

from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["selective_scan", "selective_scan_step"]


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_state: Literal[False] = False,
    backend: str = "auto",
) -> Tensor: ...
@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    *,
    return_state: Literal[True],
    backend: str = "auto",
) -> tuple[Tensor, Tensor]: ...
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_state: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t;  y_t = (C_t.h_t + D u_t) silu(z_t).

    Mamba (arXiv 2312.00752, section 3 and algorithm 2): A is discretised by zero-order hold, B by
    Euler's rule. Each channel has its own state of N numbers.

    Args:
        u: (batch, length, channels); any length, also 0.
        delta: (batch, length, channels); ``delta_bias`` (channels,) is added to it, and softplus
            applied after that where ``delta_softplus``.
        A: (channels, N), negative.
        B, C: (batch, length, N), shared by the channels.
        D: (channels,); the skip is left out if None.
        z: (batch, length, channels); the gate is left out if None.
        initial_state: (batch, channels, N); zeros if None.
        return_state: also return the state after the last token.
        backend: "auto", "reference" or "triton".

    Returns:
        (batch, length, channels) in the dtype of u, and if asked for the state: float32, or
        float64 where u is float64.
    """
    run = dispatch.implementation("selective_scan", backend, u)
    return run(u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, return_state)


def selective_scan_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    state: Tensor,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """One token of `selective_scan`: u, delta, z (batch, channels); B, C (batch, N).

    Returns the output (batch, channels) and the new state; ``state`` is not changed.
    """
    run = dispatch.implementation("selective_scan_step", backend, u)
    return run(u, delta, A, B, C, D, z, delta_bias, delta_softplus, state)
