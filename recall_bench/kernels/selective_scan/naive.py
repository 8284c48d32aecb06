"""Mamba's selective scan (arXiv 2312.00752, section 3 and algorithm 2), token by token."""

import torch
from torch import Tensor
from torch.nn import functional as F


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
) -> tuple[Tensor, Tensor]:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, y_t = (C_t.h_t + D u_t) silu(z_t), and h.

    u, delta, z (B, L, W), A (W, N), B, C (B, L, N), h (B, W, N).
    """
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = F.softplus(delta)
    h = u.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state
    outputs = []
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)
        h = decay * h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        y = (h * C[:, t, None]).sum(-1)
        if D is not None:
            y = y + D * u[:, t]
        outputs.append(y if z is None else y * F.silu(z[:, t]))
    return (torch.stack(outputs, 1) if outputs else u), h
