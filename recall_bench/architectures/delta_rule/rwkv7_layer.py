"""RWKV-7: a matrix state from which each token removes along one vector before it writes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence, exempt_from_decay, keep_initialisation
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.kernels.delta import delta
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.token_mix import token_mix

FASTEST = -0.6065306597126334
"""The lowest log decay of a token, -e^(-1/2)."""


class RWKV7Mixer(Recurrence):
    """The time mixing of Goose, which is RWKV-7 (arXiv 2503.14456, section 4).

    x_r, x_w, x_k, x_v, x_a, x_g are mixes m x_t + (1 - m) x_{t-1}, each with its own ratios m of
    all channels; r, k, v are linear maps of theirs. With low-rank maps of the others, in each head

        g = -e^(-1/2) sigmoid(w0 + tanh(x_w W1) W2),   a = sigmoid(a0 + x_a A1 A2)
        kk = k k_k / |k k_k|,   k := k (1 + (a - 1) k_a)
        S_t = diag(e^g) S_{t-1} - (a kk) (kk^T S_{t-1}) + k v^T     (removed before the decay)
        y = norm(S_t^T r) + (sum of r k r_k) v

    and W_o (y (sigmoid(x_g G1) G2)), normalised in each head with eps head_dim 1e-5. The released
    model mixes the first layer's v into that of the others. A mixer of ours stands alone, so that
    every layer is treated as the first of one, its start included; zoology does the same.

    Everything starts as in the released code (BlinkDL/RWKV-LM, RWKV-v7), also the linear maps:
    r and v uniform within 0.5 d_model^(-1/2), k within a tenth of that, the output map at zero,
    first low-rank factors at zero and second ones orthogonal times 0.1. Only the four square maps
    have weight decay.

    State: ``token`` (batch, d_model), the last input, and ``memory``
    (batch, heads, head_dim, head_dim), S with the channels of k first.
    """

    def __init__(
        self, d_model: int, head_dim: int, decay_rank: int, rate_rank: int, gate_rank: int
    ):
        super().__init__(d_model)
        self.head_dim = head_dim
        channel = torch.arange(d_model, dtype=torch.get_default_dtype())
        exponents = torch.tensor([0.2, 0.9, 0.7, 0.7, 0.9, 0.2])  # of r, w, k, v, a, g
        self.ratios = nn.Parameter((channel / d_model) ** exponents[:, None])
        line = channel / max(1, d_model - 1)  # from 0 to 1 over all channels
        zigzag = torch.linspace(-1, 1, head_dim).repeat(d_model // head_dim)
        zigzag = zigzag * zigzag.abs()
        self.decay = LowRank(d_model, decay_rank, torch.tanh, -6 + 6 * line + 0.5 + 2.5 * zigzag)
        self.rate = LowRank(
            d_model, rate_rank, nn.Identity(), -0.19 + 0.3 * zigzag + 0.4 * (line - 0.5)
        )
        self.gate = LowRank(d_model, gate_rank, torch.sigmoid)
        self.k_k = nn.Parameter(0.71 - 0.1 * (line - 0.5))
        self.k_a = nn.Parameter(torch.full((d_model,), 1.02))
        self.r_k = nn.Parameter(torch.full((d_model // head_dim, head_dim), -0.04))
        self.r_proj, self.k_proj, self.v_proj, self.out_proj = (
            Linear(d_model, d_model, bias=False) for _ in range(4)
        )
        bound = 0.5 * d_model**-0.5
        nn.init.uniform_(self.r_proj.weight, -bound, bound)
        nn.init.uniform_(self.k_proj.weight, -bound / 10, bound / 10)
        nn.init.uniform_(self.v_proj.weight, -bound, bound)
        nn.init.zeros_(self.out_proj.weight)
        self.norm_weight = nn.Parameter(torch.ones(d_model))
        self.norm_bias = nn.Parameter(torch.zeros(d_model))
        maps = {self.r_proj.weight, self.k_proj.weight, self.v_proj.weight, self.out_proj.weight}
        keep_initialisation(*self.parameters())
        exempt_from_decay(*(p for p in self.parameters() if p not in maps))

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, ...]:
        xr, xw, xk, xv, xa, xg = carry("token", token_mix, x, self.ratios)
        r, k, v = self.r_proj(xr), self.k_proj(xk), self.v_proj(xv)
        g = FASTEST * at_least_float32(self.decay(xw)).sigmoid()
        rate = self.rate(xa).sigmoid()
        removed, k = k * self.k_k, k * (1 + (rate - 1) * self.k_a)
        r, k, v, g, rate, removed = (
            part.unflatten(-1, (-1, self.head_dim)) for part in (r, k, v, g, rate, removed)
        )  # (B, L, H, d)
        removed = F.normalize(removed, dim=-1, eps=1e-12)
        y = carry("memory", delta, r, k, v, None, g, a=-removed, b=removed * rate, remove="before")
        own = (r * k * self.r_k).sum(-1, keepdim=True) * v
        return y, own, xg

    def finish(self, y: Tensor, own: Tensor, xg: Tensor) -> Tensor:
        y = F.layer_norm(y, y.shape[-1:], eps=1e-5 * self.head_dim).flatten(-2).to(own.dtype)
        y = torch.addcmul(self.norm_bias, y, self.norm_weight) + own.flatten(-2)
        return self.out_proj(y * self.gate(xg))


class LowRank(nn.Module):
    """activation(x W1) W2 + bias, with W1 = 0 and W2 orthogonal times 0.1 at the start."""

    def __init__(
        self,
        width: int,
        rank: int,
        activation: Callable[[Tensor], Tensor],
        bias: Tensor | None = None,
    ):
        super().__init__()
        self.activation = activation
        self.down = Linear(width, rank, bias=False)
        self.up = Linear(rank, width, bias=bias is not None)
        nn.init.zeros_(self.down.weight)
        nn.init.orthogonal_(self.up.weight, 0.1 * max(1.0, rank / width) ** 0.5)
        if bias is not None:
            self.up.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.activation(self.down(x)))
