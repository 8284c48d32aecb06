"""RWKV-4: a mean of all values so far with exponential weights, in each channel."""

import math

import torch
from torch import Tensor, nn

from recall_bench.architectures.base import Recurrence, exempt_from_decay
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.token_mix import token_mix
from recall_bench.kernels.wkv4 import wkv4


class RWKV4Mixer(Recurrence):
    """The time mixing of RWKV-4 (arXiv 2305.13048, section 3.1).

    k, v, r are projections of m x_t + (1 - m) x_{t-1}, each with its own d_model ratios m. In each
    channel, with w = -exp(decay) and bonus u:

        y_t = (sum_{j<t} e^((t-1-j) w + k_j) v_j + e^(u + k_t) v_t) / (the same without v)

    and out_proj(sigmoid(r) y). Ratios, decay and bonus start as in the first layer of the released
    code (BlinkDL/RWKV-LM, RWKV-v4), which varies them with a layer's index: the ratio of channel i
    is i/d for k and v and its square root for r, decay rises from -5 to 3, u is log 0.3 plus one of
    -0.5, 0, 0.5. They have no weight decay. The backbone initialises the projections; that code
    starts those of k, r and the output at zero.

    State: ``token`` (batch, d_model), the last input, and ``past``, a
    `recall_bench.kernels.wkv4.WKV4State` of three (batch, d_model) tensors.
    """

    def __init__(self, d_model: int):
        super().__init__(d_model)
        channel = torch.arange(d_model, dtype=torch.get_default_dtype())
        ramp = channel / d_model
        self.ratios = nn.Parameter(torch.stack([ramp, ramp, ramp.sqrt()]))  # of k, v, r
        self.decay = nn.Parameter(-5 + 8 * (channel / max(1, d_model - 1)) ** 0.7)
        self.bonus = nn.Parameter(math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1))
        self.k_proj = Linear(d_model, d_model, bias=False)
        self.v_proj = Linear(d_model, d_model, bias=False)
        self.r_proj = Linear(d_model, d_model, bias=False)
        self.out_proj = Linear(d_model, d_model, bias=False)
        exempt_from_decay(self.ratios, self.decay, self.bonus)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        x_k, x_v, x_r = carry("token", token_mix, x, self.ratios)
        log_decay = -torch.exp(at_least_float32(self.decay))
        y = carry("past", wkv4, self.k_proj(x_k), self.v_proj(x_v), log_decay, self.bonus)
        return y, x_r

    def finish(self, y: Tensor, x_r: Tensor) -> Tensor:
        r = self.r_proj(x_r)
        return self.out_proj((torch.sigmoid(r) * y).to(r.dtype))
