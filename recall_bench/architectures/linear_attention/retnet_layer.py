"""RetNet's retention: linear attention with rotary positions and a fixed decay per head."""

import torch
from torch import Tensor

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.kernels.gated_linear import gated_linear
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rotary import rotary


class RetNetMixer(Recurrence):
    """Multi-scale retention (arXiv 2307.08621, section 2), as in flash-linear-attention.

    q, k, v are linear maps of x, d_model, d_model and expand_v d_model wide; rotary embeddings turn
    q and k. In head h = 0, 1, …, with decay w = 1 - 2^(-5-h):

        S_t = w S_{t-1} + k_t v_t^T,   y_t = S_t^T q_t / sqrt(d_k)

    and out(norm(y) silu(gate x)). As in that library, the embeddings are plain, not xPos's, and the
    norm of each head is an RMSNorm with a learned scale, not the paper's group norm. The paper also
    divides the scores by their sums, which a norm behind them makes a matter of its eps only. The
    backbone initialises all maps.

    State: ``past`` (batch, heads, d_k, d_v), S, and the tokens so far.
    """

    def __init__(self, d_model: int, num_heads: int = 8, expand_v: int = 2):
        super().__init__(d_model)
        self.num_heads = num_heads
        values = expand_v * d_model
        self.split = [d_model, d_model, values]
        self.qkv = Linear(d_model, sum(self.split), bias=False)
        self.gate = Linear(d_model, values, bias=False)
        self.norm = HeadNorm(values // num_heads)
        self.out = Linear(values, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        parts = self.qkv(x).split(self.split, -1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)  # (B, L, H, ·)
        positions = carry.start[:, None] + torch.arange(x.shape[1], device=x.device)
        q, k = rotary(q * q.shape[-1] ** -0.5, positions), rotary(k, positions)
        y: Tensor = carry("past", gated_linear, q, k, v, self._log_decay(q))
        return y, x  # (B, L, H, d_v), (B, L, D)

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        return self.out(self.norm(y, self.gate(x)))

    def _log_decay(self, like: Tensor) -> Tensor:
        """log(1 - 2^(-5-h)) of each head, (H,), in at least float32."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        head = torch.arange(self.num_heads, device=like.device, dtype=dtype)
        return torch.log1p(-(2.0 ** (-5 - head)))
