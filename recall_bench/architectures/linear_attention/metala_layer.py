"""MetaLA: gated linear attention without keys of its own, and a term for the token itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence, keep_initialisation
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.architectures.pieces.short_convolution import ShortConvolution
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear

TEMPERATURE = 16
"""The root of the sigmoid that each decay is."""


class MetaLAMixer(Recurrence):
    """The MetaLA layer (arXiv 2411.10741), as in the authors' code.

    All maps read silu(conv(x)). q and decays alpha = sigmoid(W_a x)^(1/16) are d_model / 2 wide in
    all heads, v is d_model wide. In each head, with k = 1 - alpha and the learned w_aug:

        S_t = diag(alpha_t) S_{t-1} + k_t v_t^T
        y_t = S_t^T q_t / sqrt(d_k) + sigmoid((q_t.(w_aug k_t)) v_t)

    and out(norm(y) silu(W_g x + b)), a LayerNorm of each head without parameters. w_aug starts at
    0, so that the term for the token itself starts as 1/2. W_q and W_a start Xavier-uniform with
    gain 2^(-5/2), the convolution as PyTorch's; the backbone initialises the other maps.

    State: ``conv`` (batch, d_conv - 1, d_model), the last inputs, and ``past``
    (batch, heads, d_k, d_v), S.
    """

    def __init__(self, d_model: int, num_heads: int = 4, d_conv: int = 4):
        super().__init__(d_model)
        self.num_heads = num_heads
        keys = d_model // 2
        self.conv = ShortConvolution(d_model, d_conv)
        self.q_proj = Linear(d_model, keys, bias=False)
        self.decay = Linear(d_model, keys, bias=False)
        self.v_proj = Linear(d_model, d_model, bias=False)
        self.augment = nn.Parameter(torch.zeros(num_heads, keys // num_heads))
        self.gate = Linear(d_model, d_model)
        self.out = Linear(d_model, d_model, bias=False)
        for module in (self.q_proj, self.decay):
            nn.init.xavier_uniform_(module.weight, gain=2**-2.5)
            keep_initialisation(module.weight)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        x = self.conv(x, carry, "conv")
        log_decay = F.logsigmoid(at_least_float32(self.decay(x))) / TEMPERATURE
        parts = self.q_proj(x), self.v_proj(x), log_decay
        q, v, log_decay = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)
        k = -torch.expm1(log_decay)  # (B, L, H, d_k)
        y = carry("past", gated_linear, q * q.shape[-1] ** -0.5, k, v, log_decay)
        own = (q * self.augment * k).sum(-1, keepdim=True)
        return y + torch.sigmoid(own * v), x  # (B, L, H, d_v), (B, L, D)

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        gate = F.silu(self.gate(x))
        normed = F.layer_norm(y, y.shape[-1:]).flatten(-2)
        return self.out((normed * gate).to(gate.dtype))
