"""RWKV-6: RWKV-5 with decays and token shifts that depend on the token."""

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Recurrence, exempt_from_decay
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.head_norm import head_norm
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.token_mix import token_mix

NORM_EPS = 64e-5
"""The eps of the released code at heads of 64 channels."""


class RWKV6Mixer(Recurrence):
    """The time mixing of Finch, which is RWKV-6 (arXiv 2404.05892, section 4.2).

    With s = x_{t-1} - x_t, the input of each c of w, k, v, r, g is a token shift whose ratios
    depend on the token: x_c = x + s (mu_c + tanh((x + s mu_x) W1_c) W2_c). r, k, v, g are linear
    maps of theirs, and the decay w = exp(-exp(w_0 + tanh(x_w D1) D2)). In each head, with bonus u:

        y_t = r_t (S_{t-1} + diag(u) k_t v_t^T),   S_t = diag(w_t) S_{t-1} + k_t v_t^T

    and out_proj(norm(y) silu(g)), normalised in each head.

    mu, w_0, u, W1 = 0, W2, D1 = 0 and D2 (uniform within 0.01) start as in the first layer of the
    released code (BlinkDL/RWKV-LM, RWKV-v6), which varies them with a layer's index: of channel i,
    mu is 1 - i/d for x, w, k, v and 1 - sqrt(i/d) for r and g, w_0 rises from -6 to -1, u is one of
    -0.1, 0, 0.1. mu, w_0, u and the norm have no weight decay. The backbone initialises the
    projections; that code starts them orthogonal or at zero.

    State: ``token`` (batch, d_model), the last input, and ``past``
    (batch, heads, head_dim, head_dim), S with the channels of k first.
    """

    def __init__(self, d_model: int, head_dim: int = 64, mix_rank: int = 32, decay_rank: int = 64):
        super().__init__(d_model)
        heads = d_model // head_dim
        channel = torch.arange(d_model, dtype=torch.get_default_dtype())
        ramp, root = channel / d_model, (channel / d_model).sqrt()
        self.mu_x = nn.Parameter(1 - ramp)
        self.mu = nn.Parameter(1 - torch.stack([ramp, ramp, ramp, root, root]))  # w, k, v, r, g
        self.W1 = nn.Parameter(torch.zeros(5, d_model, mix_rank))
        self.W2 = nn.Parameter(torch.empty(5, mix_rank, d_model).uniform_(-0.01, 0.01))
        self.w_0 = nn.Parameter(-6 + 5 * (channel / max(1, d_model - 1)) ** 0.7)
        self.D1 = nn.Parameter(torch.zeros(d_model, decay_rank))
        self.D2 = nn.Parameter(torch.empty(decay_rank, d_model).uniform_(-0.01, 0.01))
        self.bonus = nn.Parameter(0.1 * ((channel + 1) % 3 - 1).view(heads, head_dim))
        self.k_proj = Linear(d_model, d_model, bias=False)
        self.v_proj = Linear(d_model, d_model, bias=False)
        self.r_proj = Linear(d_model, d_model, bias=False)
        self.g_proj = Linear(d_model, d_model, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(d_model))
        self.norm_bias = nn.Parameter(torch.zeros(d_model))
        self.out_proj = Linear(d_model, d_model, bias=False)
        exempt_from_decay(
            self.mu_x, self.mu, self.w_0, self.bonus, self.norm_weight, self.norm_bias
        )

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        (previous,) = carry("token", token_mix, x, torch.zeros_like(self.mu[:1]))
        x_w, x_k, x_v, x_r, x_g = self._shifted(x, previous)
        r, k, v = self.r_proj(x_r), self.k_proj(x_k), self.v_proj(x_v)
        speed = self.w_0 + torch.tanh(x_w @ self.D1) @ self.D2
        log_decay = -torch.exp(at_least_float32(speed))
        parts = (part.unflatten(-1, self.bonus.shape) for part in (r, k, v, log_decay))
        y: Tensor = carry("past", gated_linear, *parts, self.bonus)
        return y, x_g  # (B, L, H, d), (B, L, D)

    def finish(self, y: Tensor, x_g: Tensor) -> Tensor:
        gate = self.g_proj(x_g)
        return self.out_proj(head_norm(y, gate, self.norm_weight, self.norm_bias, NORM_EPS))

    def _shifted(self, x: Tensor, previous: Tensor) -> list[Tensor]:
        """The inputs of w, k, v, r and g, (B, L, D) each."""
        s = previous - x
        low = torch.tanh(torch.einsum("bld,cdr->cblr", x + s * self.mu_x, self.W1))
        ratios = torch.einsum("cblr,crd->cbld", low, self.W2) + self.mu[:, None, None]
        return [x + s * ratio for ratio in ratios.to(x.dtype)]
