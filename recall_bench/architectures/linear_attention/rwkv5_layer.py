"""RWKV-5: linear attention with a matrix state per head and a learned decay per channel."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Recurrence, exempt_from_decay, keep_initialisation
from recall_bench.architectures.carry import Carry
from recall_bench.kernels.head_norm import head_norm
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.token_mix import token_mix
from recall_bench.kernels.wkv import wkv

NORM_EPS = 64e-5
"""The released code divides by 8 and then normalises with eps 1e-5."""


class RWKV5Mixer(Recurrence):
    """The time mixing of Eagle, which is RWKV-5 (arXiv 2404.05892).

    r, k, v, g are projections of m x_t + (1 - m) x_{t-1}, each with its own d_model ratios m. In
    each head, with decay w = exp(-exp(decay)) and bonus u over the channels of k:

        y_t = r_t (S_{t-1} + diag(u) k_t v_t^T),   S_t = diag(w) S_{t-1} + k_t v_t^T

    and out_proj(norm(y) silu(g)), normalised in each head. Ratios, decay and bonus start as in the
    first layer of the released code (BlinkDL/RWKV-LM, RWKV-v5), which varies them with a layer's
    index: the ratio of channel i is i/d for k and v and its square root for r and g, decay rises
    from -6 to -1, bonus is one of -0.1, 0, 0.1. They and the norm have no weight decay. The
    backbone initialises the projections; that code starts them orthogonal or at zero, as
    `draw_as_authors` does.

    State: ``token`` (batch, d_model), the last input, and ``wkv``
    (batch, heads, head_dim, head_dim), S with the channels of k first.
    """

    renamed: ClassVar[dict[str, str]] = {"mix": "ratios"}

    def __init__(self, d_model: int, head_dim: int = 64):
        super().__init__(d_model)
        heads = d_model // head_dim
        channel = torch.arange(d_model, dtype=torch.get_default_dtype())
        ramp = channel / d_model
        ratios = [ramp.sqrt(), ramp, ramp, ramp.sqrt()]  # of r, k, v, g
        self.ratios = nn.Parameter(torch.stack(ratios))
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
        free = (self.ratios, self.decay, self.bonus, self.norm_weight, self.norm_bias)
        exempt_from_decay(*free)

    @torch.no_grad()
    def draw_as_authors(self, layer: int, layers: int) -> None:
        """Start as layer number ``layer`` of ``layers``, counted from 0, does in RWKV-LM (RWKV-v5).

        The deeper the layer, the nearer are the ratios to one, the more channels forget fast, the
        larger are bonus and output. That code divides by layers - 1; a single layer counts as the
        first.
        """
        width = self.ratios.shape[1]
        depth, left = layer / max(1, layers - 1), 1 - layer / layers
        channel = torch.arange(width, dtype=self.ratios.dtype, device=self.ratios.device)
        ramp, rise = channel / width, channel / max(1, width - 1)
        full, half = ramp**left, ramp ** (left / 2)
        self.ratios.copy_(torch.stack([half, full, full + 0.3 * depth, half]))  # of r, k, v, g
        self.decay.copy_((-6 + 5 * rise ** (0.7 + 1.3 * depth)).view_as(self.decay))
        bonus = depth * (1 - rise) + 0.1 * ((channel + 1) % 3 - 1)
        self.bonus.copy_(bonus.view_as(self.bonus))
        self.norm_weight.fill_(((1 + layer) / layers) ** 0.7)
        for maps, gain in (
            (self.r_proj, 1.0),
            (self.v_proj, 1.0),
            (self.k_proj, 0.1),
            (self.g_proj, 0.1),
            (self.out_proj, 0.0),
        ):
            nn.init.orthogonal_(maps.weight, gain)
            keep_initialisation(maps.weight)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        xr, xk, xv, xg = carry("token", token_mix, x, self.ratios)
        r, k, v = self.r_proj(xr), self.k_proj(xk), self.v_proj(xv)
        r, k, v = (value.unflatten(-1, self.decay.shape) for value in (r, k, v))  # (B, L, H, ·)
        y: Tensor = carry("wkv", wkv, r, k, v, self._log_decay(), self.bonus)
        return y, self.g_proj(xg)

    def finish(self, y: Tensor, g: Tensor) -> Tensor:
        return self.out_proj(head_norm(y, g, self.norm_weight, self.norm_bias, NORM_EPS))

    def _log_decay(self) -> Tensor:
        return -torch.exp(self.decay.to(torch.promote_types(self.decay.dtype, torch.float32)))
