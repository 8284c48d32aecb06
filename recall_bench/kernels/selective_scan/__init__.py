"""Mamba's selective scan: a diagonal state space model whose steps depend on the input."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.operator import Layout, Shapes, Zeros, operator

__all__ = ["selective_scan"]


@operator()
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
) -> Layout:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t;  y_t = (C_t.h_t + D u_t) silu(z_t).

    Mamba (arXiv 2312.00752, section 3 and algorithm 2): A is discretised by zero-order hold, B by
    Euler's rule. Each channel has its own state of N numbers.

    Args:
        u: (batch, length, channels); any length, also 0.
        delta: (batch, length, channels), plus ``delta_bias`` (channels,), then through softplus if
            ``delta_softplus``.
        A: (channels, N), negative.
        B, C: (batch, length, N), shared by the channels.
        D: (channels,); no skip connection if None.
        z: (batch, length, channels); no gate if None.

    Returns:
        (batch, length, channels) in the dtype of u. The state is h (batch, channels, N): float32,
        or float64 where u is float64.
    """
    sizes = Shapes("selective_scan")
    sizes.check("u", u, "batch length channels")
    sizes.check("delta", delta, "batch length channels")
    sizes.check("A", A, "channels N")
    sizes.check("B", B, "batch length N")
    sizes.check("C", C, "batch length N")
    if D is not None:
        sizes.check("D", D, "channels")
    if z is not None:
        sizes.check("z", z, "batch length channels")
    if delta_bias is not None:
        sizes.check("delta_bias", delta_bias, "channels")
    dtype = torch.promote_types(u.dtype, torch.float32)
    return Zeros((sizes["batch"], sizes["channels"], sizes["N"]), dtype)
