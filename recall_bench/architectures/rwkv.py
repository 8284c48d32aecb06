"""RWKV-5: linear attention with a matrix state a head and a learned decay a channel."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Architecture, Mixer, State, exempt_from_decay
from recall_bench.architectures.linear import Linear
from recall_bench.kernels.precision import without_autocast
from recall_bench.kernels.rows_at import rows_at
from recall_bench.registry import register_architecture

CHUNK = 64
"""Tokens whose scores are computed directly; a power of two."""

NORM_EPS = 64e-5
"""The released code divides by 8 before a normalisation with eps 1e-5."""


class RWKV5Mixer(Mixer):
    """The time mixing of Eagle, which is RWKV-5 (arXiv 2404.05892).

    r, k, v, g are projections of mix x_t + (1 - mix) x_{t-1}, each with its own mix of d_model
    ratios. In each head, with decay w = exp(-exp(decay)) and bonus u over the channels of k:

        y_t = r_t (S_{t-1} + diag(u) k_t v_t^T),   S_t = diag(w) S_{t-1} + k_t v_t^T

    and out_proj(norm(y) silu(g)), normalised in each head. Mix, decay and bonus start as in the
    first layer of the released code (BlinkDL/RWKV-LM, RWKV-v5), which varies them with a layer's
    index: mix of channel i is i/d for k and v and its square root for r and g, decay rises from -6
    to -1, bonus is one of -0.1, 0, 0.1. They and the norm have no weight decay. The projections
    start as the backbone's, not orthogonal and zero as in that code.

    State: ``token`` (batch, d_model), the last input, and ``wkv``
    (batch, heads, head_dim, head_dim), S with the channels of k first.
    """

    def __init__(self, d_model: int, head_dim: int = 64):
        super().__init__()
        heads = d_model // head_dim
        channel = torch.arange(d_model, dtype=torch.get_default_dtype())
        ramp = channel / d_model
        self.mix = nn.Parameter(torch.stack([ramp.sqrt(), ramp, ramp, ramp.sqrt()]))  # r, k, v, g
        speed = -6 + 5 * (channel / max(1, d_model - 1)) ** 0.7
        self.decay = nn.Parameter(speed.view(heads, head_dim))
        self.bonus = nn.Parameter(0.1 * ((channel + 1) % 3 - 1).view(heads, head_dim))
        self.r_proj = Linear(d_model, d_model, bias=False)
        self.k_proj = Linear(d_model, d_model, bias=False)
        self.v_proj = Linear(d_model, d_model, bias=False)
        self.g_proj = Linear(d_model, d_model, bias=False)
        self.norm_weight = nn.Parameter(torch.ones(d_model))
        self.norm_bias = nn.Parameter(torch.zeros(d_model))
        self.out_proj = Linear(d_model, d_model, bias=False)
        free = (self.mix, self.decay, self.bonus, self.norm_weight, self.norm_bias)
        exempt_from_decay(*free)

    def forward(self, x: Tensor) -> Tensor:
        r, k, v, g = self._project(x, _shift(x))
        y, _ = chunked_wkv(r, k, v, self._log_decay(), self.bonus)
        return self._finish(y, g)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        r, k, v, g = self._project(x, _shift(x))
        y, _ = chunked_wkv(r, k, v, self._log_decay(), self.bonus)
        return self._finish(rows_at(y, positions), rows_at(g, positions))

    def initial_state(self, batch_size: int) -> State:
        heads, head_dim = self.decay.shape
        dtype = torch.promote_types(self.decay.dtype, torch.float32)
        return {
            "token": self.zeros(batch_size, heads * head_dim),
            "wkv": self.zeros(batch_size, heads, head_dim, head_dim, dtype=dtype),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        r, k, v, g = self._project(x, state["token"])  # (B, H, head_dim); g (B, d)
        S = state["wkv"]
        r, k, v, u = (value.to(S.dtype) for value in (r, k, v, self.bonus))
        kv = k[..., None] * v[..., None, :]
        y = (r[..., None] * (S + u[..., None] * kv)).sum(-2)
        S = self._log_decay().exp()[..., None] * S + kv
        return self._finish(y, g), {"token": x.clone(), "wkv": S}

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        r, k, v, g = self._project(x, _shift(x))
        y, S = chunked_wkv(r, k, v, self._log_decay(), self.bonus)
        return self._finish(y, g), {"token": F.pad(x, (0, 0, 1, 0))[:, -1].clone(), "wkv": S}

    def _project(self, x: Tensor, previous: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, k, v (B, …, H, head_dim) and g (B, …, d) from the tokens and those before them."""
        xr, xk, xv, xg = (torch.lerp(previous, x, mix) for mix in self.mix.to(x.dtype))
        r, k, v = self.r_proj(xr), self.k_proj(xk), self.v_proj(xv)
        r, k, v = (value.unflatten(-1, self.decay.shape) for value in (r, k, v))
        return r, k, v, F.silu(self.g_proj(xg))

    def _log_decay(self) -> Tensor:
        return -torch.exp(self.decay.to(torch.promote_types(self.decay.dtype, torch.float32)))

    def _finish(self, y: Tensor, g: Tensor) -> Tensor:
        """y (B, …, H, head_dim), g (B, …, d) -> (B, …, d)."""
        y = F.layer_norm(y, y.shape[-1:], eps=NORM_EPS).flatten(-2).to(g.dtype)
        return self.out_proj(torch.addcmul(self.norm_bias, y, self.norm_weight) * g)


def chunked_wkv(
    r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor]:
    """The outputs (B, L, H, d_v) and the last state (B, H, d, d_v) of RWKV-5's recurrence.

    r, k (B, L, H, d), v (B, L, H, d_v); log_decay, negative, and bonus (H, d). Scores inside a
    chunk, the state between chunks. Every decay is w to a power that is not negative, so nothing
    overflows however fast a channel forgets.
    """
    dtype = log_decay.dtype
    r, k, v = (value.to(dtype).transpose(1, 2) for value in (r, k, v))  # (B, H, L, ·)
    exponents = torch.arange(CHUNK + 1, dtype=dtype, device=r.device)
    w = torch.exp(log_decay[:, None] * exponents[:, None])  # (H, CHUNK + 1, d): w^0, w^1, …
    S = r.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
    outputs: list[Tensor] = []
    with without_autocast(r.device):
        for R, K, V in zip(*(value.split(CHUNK, 2) for value in (r, k, v)), strict=True):
            n = R.shape[2]
            y = _scores(R, K, w, bonus.to(dtype)) @ V
            outputs.append(y + (R * w[:, :n]) @ S if outputs else y)
            S = w[:, n, :, None] * S + (K * w[:, :n].flip(1)).mT @ V
    return torch.cat(outputs, 2).transpose(1, 2), S


def _scores(r: Tensor, k: Tensor, w: Tensor, bonus: Tensor) -> Tensor:
    """r_i diag(w^(i-1-j)) k_j for j < i, r_i diag(u) k_i for j = i: (B, H, n, d) -> (B, H, n, n).

    Grown from blocks of one token by joining neighbours: between a block of s tokens and the next
    one, the decay splits at their border into w^(0 … s-1) on either side.
    """
    n, s = r.shape[2], 1
    padding = (0, 0, 0, 2 ** (n - 1).bit_length() - n)
    r, k = F.pad(r, padding), F.pad(k, padding)
    scores = (r * k * bonus[:, None]).sum(-1)[..., None, None]  # (B, H, blocks, s, s)
    while s < n:
        later = r.unflatten(2, (-1, 2, s))[:, :, :, 1] * w[:, None, :s]
        earlier = k.unflatten(2, (-1, 2, s))[:, :, :, 0] * w[:, None, :s].flip(2)
        first, second = scores.unflatten(2, (-1, 2)).unbind(3)
        below = torch.cat([later @ earlier.mT, second], -1)
        scores = torch.cat([F.pad(first, (0, s)), below], -2)
        s *= 2
    return scores[:, :, 0, :n, :n]


def _shift(x: Tensor) -> Tensor:
    """Each token's predecessor, zero for the first: (B, L, d) -> (B, L, d)."""
    return F.pad(x, (0, 0, 1, 0))[:, :-1]


@register_architecture("rwkv")
class RWKV(Architecture):
    """RWKV's time mixing; channel mixing is the backbone's MLP."""

    generation: Literal["5"] = Field("5", description="which RWKV; 5 is Eagle")
    head_dim: int = Field(64, ge=1, le=1024, description="channels a head; its state is square")

    @model_validator(mode="after")
    def _heads_fit(self) -> "RWKV":
        if self.d_model % self.head_dim:
            raise ValueError(
                f"head_dim must divide d_model={self.d_model}. Got head_dim={self.head_dim}."
            )
        return self

    def mixer(self) -> RWKV5Mixer:
        return RWKV5Mixer(self.d_model, self.head_dim)
