"""Mamba: a selective state space model behind a short convolution, with a gate."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence, exempt_from_decay, keep_initialisation
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.step_sizes import initial_steps, inverse_softplus
from recall_bench.kernels.linear import linear
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rows_at import rows_at
from recall_bench.kernels.selective_scan import selective_scan
from recall_bench.kernels.short_conv import short_conv


class MambaMixer(Recurrence):
    """The block of Mamba (arXiv 2312.00752, section 3.4 and figure 3), E = expand d_model wide.

    x, z = in_proj(input); x = silu(conv(x)); dt, B, C = x_proj(x); dt = softplus(dt_proj(dt));
    y = selective_scan(x, dt, A, B, C) + D x; out_proj(y silu(z)). dt has rank ceil(d_model / 16).

    Initialised as in section 3.6 and the authors' code: A = -(1 … N) in every channel (S4D-Real),
    D = 1, dt_proj weights uniform within rank^(-1/2) and biases such that softplus gives step sizes
    between 1e-3 and 1e-1; convolution and linear maps as PyTorch's. A and D have no weight decay.

    State: ``conv`` (batch, d_conv - 1, E), the last inputs of the convolution, and ``ssm``
    (batch, E, d_state).
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2):
        super().__init__(d_model)
        inner, rank = expand * d_model, math.ceil(d_model / 16)
        self.split = [rank, d_state, d_state]
        self.in_proj = Linear(d_model, 2 * inner, bias=False)
        bound = d_conv**-0.5
        self.conv_weight = nn.Parameter(torch.empty(inner, d_conv).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.empty(inner).uniform_(-bound, bound))
        self.x_proj = Linear(inner, sum(self.split), bias=False)
        self.dt_proj = Linear(rank, inner)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        self.dt_proj.bias = nn.Parameter(inverse_softplus(initial_steps(inner)))
        levels = torch.arange(1, d_state + 1, dtype=torch.get_default_dtype())
        self.A_log = nn.Parameter(levels.log().repeat(inner, 1))  # (E, N)
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = Linear(inner, d_model, bias=False)
        maps = (self.in_proj, self.x_proj, self.out_proj)
        keep_initialisation(*(m.weight for m in maps), self.dt_proj.weight, self.dt_proj.bias)
        exempt_from_decay(self.A_log, self.D)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        x, z = self.in_proj.halves(x)  # (B, L, E) each
        x = carry("conv", short_conv, x, self.conv_weight, self.conv_bias, "silu")
        y: Tensor = carry("ssm", selective_scan, x, **self._scan_arguments(x), z=z)
        return y

    def finish(self, y: Tensor) -> Tensor:
        return self.out_proj(y)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Project and apply the gate at ``positions`` only."""
        z, x = self.in_proj.at(x, positions, -self.out_proj.in_features)
        x = short_conv(x, self.conv_weight, self.conv_bias, "silu")
        y = selective_scan(x, **self._scan_arguments(x))
        return self.out_proj(rows_at(y, positions) * F.silu(z))

    def _scan_arguments(self, x: Tensor) -> dict[str, Any]:
        """The arguments of the scan besides x (…, E) and z; delta, B and C depend on x."""
        delta, B, C = self.x_proj(x).split(self.split, -1)
        return {
            "delta": linear(delta, self.dt_proj.weight),
            "A": -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32))),
            "B": B,
            "C": C,
            "D": self.D,
            "delta_bias": self.dt_proj.bias,
            "delta_softplus": True,
        }
