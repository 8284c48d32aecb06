"""RWKV-5: linear attention with a matrix state a head and a learned decay a channel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Mixer, State, exempt_from_decay
from recall_bench.kernels.head_norm import head_norm
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rows_at import rows_at
from recall_bench.kernels.token_mix import token_mix
from recall_bench.kernels.wkv import wkv

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
        y, g, _ = self._parallel(x)
        return self._finish(y, g)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        y, g, _ = self._parallel(x)
        return self._finish(rows_at(y, positions), rows_at(g, positions))

    def initial_state(self, batch_size: int) -> State:
        heads, head_dim = self.decay.shape
        dtype = torch.promote_types(self.decay.dtype, torch.float32)
        return {
            "token": self.zeros(batch_size, heads * head_dim),
            "wkv": self.zeros(batch_size, heads, head_dim, head_dim, dtype=dtype),
        }

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        mixed = [torch.lerp(state["token"], x, mix) for mix in self.mix.to(x.dtype)]
        r, k, v, g = self._project(mixed)  # (B, H, head_dim); g (B, d)
        S = state["wkv"]
        r, k, v, u = (value.to(S.dtype) for value in (r, k, v, self.bonus))
        kv = k[..., None] * v[..., None, :]
        y = (r[..., None] * (S + u[..., None] * kv)).sum(-2)
        S = self._log_decay().exp()[..., None] * S + kv
        return self._finish(y, g), {"token": x.clone(), "wkv": S}

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        y, g, S = self._parallel(x)
        return self._finish(y, g), {"token": F.pad(x, (0, 0, 1, 0))[:, -1].clone(), "wkv": S}

    def _parallel(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the recurrence gives (B, L, H, head_dim), what gates it (B, L, d), the last S."""
        r, k, v, g = self._project(token_mix(x, self.mix))
        y, S = wkv(r, k, v, self._log_decay(), self.bonus)
        return y, g, S

    def _project(self, mixed: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """r, k, v (B, …, H, head_dim) and g (B, …, d) from the tokens mixed for each."""
        xr, xk, xv, xg = mixed
        r, k, v = self.r_proj(xr), self.k_proj(xk), self.v_proj(xv)
        r, k, v = (value.unflatten(-1, self.decay.shape) for value in (r, k, v))
        return r, k, v, self.g_proj(xg)

    def _log_decay(self) -> Tensor:
        return -torch.exp(self.decay.to(torch.promote_types(self.decay.dtype, torch.float32)))

    def _finish(self, y: Tensor, g: Tensor) -> Tensor:
        """y (B, …, H, head_dim), g (B, …, d) -> (B, …, d)."""
        return self.out_proj(head_norm(y, g, self.norm_weight, self.norm_bias, NORM_EPS))
