"""Mamba-2: a state space model with a scalar decay per head, behind a short convolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence, exempt_from_decay, keep_initialisation
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.architectures.pieces.short_convolution import ShortConvolution
from recall_bench.architectures.pieces.step_sizes import initial_steps, inverse_softplus
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear


class Mamba2Mixer(Recurrence):
    """The block of Mamba-2 (arXiv 2405.21060, section 7), E = expand d_model wide.

    x, B, C, dt = in_proj(input); x, B, C = silu(conv([x, B, C])); dt = softplus(dt + dt_bias). In
    each head of x, with B and C shared by all heads and A = -exp(A_log):

        S_t = exp(dt_t A) S_{t-1} + B_t (dt_t x_t)^T,   y_t = S_t^T C_t + D x_t

    and out_proj(norm(y silu(gate(input)))), an RMSNorm over all of E, after the gate.

    Initialised as in the authors' code: softplus(dt_bias) log-uniform between 1e-3 and 1e-1, A_log
    the logarithm of a uniform number between 1 and 16, D = 1; convolution and linear maps as
    PyTorch's. A_log, D and dt_bias have no weight decay.

    State: ``conv`` (batch, d_conv - 1, E + 2 d_state), the last inputs of the convolution, and
    ``ssm`` (batch, heads, d_state, head_dim), S.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        head_dim: int = 64,
        d_conv: int = 4,
        expand: int = 2,
    ):
        super().__init__(d_model)
        inner = expand * d_model
        heads = inner // head_dim
        self.head_dim = head_dim
        self.split = [inner, d_state, d_state]
        self.in_proj = Linear(d_model, sum(self.split) + heads, bias=False)
        self.gate = Linear(d_model, inner, bias=False)
        self.conv = ShortConvolution(sum(self.split), d_conv, bias=True)
        self.dt_bias = nn.Parameter(inverse_softplus(initial_steps(heads)))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = HeadNorm(inner)
        self.out_proj = Linear(inner, d_model, bias=False)
        keep_initialisation(*(m.weight for m in (self.in_proj, self.gate, self.out_proj)))
        exempt_from_decay(self.dt_bias, self.A_log, self.D)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        xBC, dt = self.in_proj(x).split([sum(self.split), len(self.D)], -1)
        inner, B, C = self.conv(xBC, carry, "conv").split(self.split, -1)
        inner = at_least_float32(inner.unflatten(-1, (-1, self.head_dim)))  # (B, L, H, P)
        dt = F.softplus(at_least_float32(dt) + self.dt_bias)  # (B, L, H)
        log_decay = -dt * at_least_float32(self.A_log).exp()
        B, C = B[..., None, :], C[..., None, :]  # one group
        y = carry("ssm", gated_linear, C, B, dt[..., None] * inner, log_decay)
        return y + self.D[:, None] * inner, x

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        y = y.flatten(-2) * F.silu(self.gate(x))
        return self.out_proj(self.norm(y[..., None, :]))
