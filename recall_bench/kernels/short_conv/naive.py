"""The gated short convolution of Based (arXiv 2402.18668, section 3), token by token."""

import torch
from torch import Tensor
from torch.nn import functional as F


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: str | None = None,
    gate: Tensor | None = None,
    residual: bool = False,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_t = activation(bias + sum_i weight[:, K-1-i] x_{t-i}) gate_t + x_t, and the last inputs.

    x (B, L, D), weight (D, K), state (B, K-1, D).
    """
    kernel = weight.shape[1]
    state = initial_state
    if state is None:
        state = x.new_zeros(x.shape[0], kernel - 1, x.shape[2])
    outputs = []
    for t in range(x.shape[1]):
        seen = torch.cat([state, x[:, t, None]], 1)  # (B, K, D), the oldest first
        y = (seen * weight.t()).sum(1)
        if bias is not None:
            y = y + bias
        if activation == "silu":
            y = F.silu(y)
        if gate is not None:
            y = y * gate[:, t]
        outputs.append(y + x[:, t] if residual else y)
        state = seen[:, 1:]
    return (torch.stack(outputs, 1) if outputs else torch.empty_like(x)), state
