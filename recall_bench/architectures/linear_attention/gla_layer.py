"""Gated linear attention: a decay per channel that depends on the token."""

from torch import Tensor, nn
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear

TEMPERATURE = 16
"""The root of the sigmoid that each decay is: it starts near 0.5^(1/16), a half-life of 16."""


class GLAMixer(Recurrence):
    """The GLA layer (arXiv 2312.06635, section 4.4), as in flash-linear-attention.

    q, k (expand_k d_model wide in all heads), v (expand_v d_model wide) are linear maps of x. In
    each head, with decays w = sigmoid(W_2 W_1 x + b)^(1/16) over the channels of k:

        S_t = diag(w_t) S_{t-1} + k_t v_t^T,   y_t = S_t^T q_t / sqrt(d_k)

    and out(norm(y) silu(gate x)), an RMSNorm in each head where the paper has a LayerNorm. The
    backbone initialises all maps.

    State: ``past`` (batch, heads, d_k, d_v), S.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int = 4,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        gate_rank: int = 16,
    ):
        super().__init__(d_model)
        self.num_heads = num_heads
        keys, values = int(expand_k * d_model), int(expand_v * d_model)
        self.split = [keys, keys, values]
        self.qkv = Linear(d_model, sum(self.split), bias=False)
        self.decay = nn.Sequential(Linear(d_model, gate_rank, bias=False), Linear(gate_rank, keys))
        self.gate = Linear(d_model, values, bias=False)
        self.norm = HeadNorm(values // num_heads)
        self.out = Linear(values, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        log_decay = F.logsigmoid(at_least_float32(self.decay(x))) / TEMPERATURE
        parts = (*self.qkv(x).split(self.split, -1), log_decay)
        q, k, v, log_decay = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)
        y: Tensor = carry("past", gated_linear, q * q.shape[-1] ** -0.5, k, v, log_decay)
        return y, x  # (B, L, H, d_v), (B, L, D)

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        return self.out(self.norm(y, self.gate(x)))
