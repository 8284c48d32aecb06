"""Mamba-2's decay: a rate for each head times a step size that depends on the input."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import exempt_from_decay
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.architectures.pieces.step_sizes import initial_steps, inverse_softplus


class SoftplusDecay(nn.Module):
    """log decay = -exp(A_log) softplus(x + dt_bias), in at least float32.

    exp(A_log) starts uniform between ``slowest`` and 16 in each head, the step sizes as Mamba's;
    neither has weight decay (arXiv 2405.21060; gated DeltaNet, 2412.06464, section 3.4).
    """

    def __init__(self, num_heads: int, channels: int | None = None, slowest: float = 0.0):
        super().__init__()
        self.shape = (num_heads,) if channels is None else (num_heads, channels)
        self.A_log = nn.Parameter(torch.empty(num_heads).uniform_(slowest, 16).log())
        self.dt_bias = nn.Parameter(inverse_softplus(initial_steps(num_heads * (channels or 1))))
        exempt_from_decay(self.A_log, self.dt_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, heads) -> same; with channels (…, heads channels) -> (…, heads, channels)."""
        dt = F.softplus(at_least_float32(x) + at_least_float32(self.dt_bias))
        rate = at_least_float32(self.A_log).exp()
        dt = dt.unflatten(-1, self.shape)
        return -(rate if len(self.shape) == 1 else rate[:, None]) * dt
