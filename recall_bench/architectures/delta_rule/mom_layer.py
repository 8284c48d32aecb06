"""Mixture of memories: a router sends each token to a few of several gated DeltaNet states."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.pieces.head_norm import HeadNorm
from recall_bench.architectures.pieces.l2_norm import l2_norm
from recall_bench.architectures.pieces.precision import at_least_float32
from recall_bench.architectures.pieces.short_convolution import ShortConvolution
from recall_bench.architectures.pieces.softplus_decay import SoftplusDecay
from recall_bench.kernels.delta import delta
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.short_conv import short_conv

BALANCE = 0.01
"""The weight of the load-balancing loss."""


class MoMMixer(Recurrence):
    """Mixture of memories (arXiv 2502.13685, section 3), each memory a gated DeltaNet.

    p = softmax(W_r x) over the memories; a token's weights are its ``top_k`` largest p, divided by
    their sum. Every memory has its own maps to k, v, beta and the decay's step size; q, the filters
    of the convolutions and the decay's parameters are shared. A memory decays and is written only
    at tokens sent to it, which is the recurrence with g = 0 and beta = 0 elsewhere;

        y_t = sum_m weight_tm S_tm^T q_t / sqrt(d_k),   W_o (rms_norm(y) silu(W_g x)),

    plus the read of one more memory that takes all tokens, if ``shared_memory``. The load-balancing
    loss is 0.01 M sum_m (share of tokens sent to m) (mean of p_m).

    Keys and values of all memories are convolved before the routing, over all tokens. The released
    code convolves each memory's tokens packed together, which in training runs across the borders
    of memories and of batch rows and differs from decoding; so this choice is ours.

    State: ``conv`` (batch, kernel_size - 1, heads (d_k + memories (d_k + d_v))), the last inputs of
    the convolutions, and ``memory`` (batch, memories heads, d_k, d_v), the shared memory last.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_k: int,
        d_v: int,
        kernel_size: int = 4,
        *,
        num_memories: int = 4,
        top_k: int = 2,
        shared_memory: bool = True,
    ):
        super().__init__(d_model)
        self.num_memories, self.top_k = num_memories, top_k
        self.heads = num_heads
        self.memories = num_memories + shared_memory
        self.parts = [num_heads * d_k, num_heads * d_k, num_heads * d_v]  # of q, k, v
        q, k, v = self.parts
        self.sizes = [q, self.memories * k, self.memories * v]
        self.router = Linear(d_model, num_memories, bias=False)
        self.qkv_proj = Linear(d_model, sum(self.sizes), bias=False)
        self.conv = ShortConvolution(q + k + v, kernel_size)
        self.beta_proj = Linear(d_model, self.memories * num_heads, bias=False)
        self.decay_proj = Linear(d_model, self.memories * num_heads, bias=False)
        self.decay = SoftplusDecay(num_heads)
        self.gate_proj = Linear(d_model, v, bias=False)
        self.norm = HeadNorm(d_v)
        self.out_proj = Linear(v, d_model, bias=False)

    def mix(self, x: Tensor, carry: Carry) -> tuple[Tensor, Tensor]:
        weights = self._weights(x, carry)  # (B, L, M)
        filters = self.conv.weight.split(self.parts)
        copies = (1, self.memories, self.memories)
        filters = torch.cat([f.repeat(n, 1) for f, n in zip(filters, copies, strict=True)])
        convolved = carry("conv", short_conv, self.qkv_proj(x), filters, None, "silu")
        q, k, v = (
            part.unflatten(-1, (n, self.heads, -1))
            for part, n in zip(convolved.split(self.sizes, -1), copies, strict=True)
        )  # (B, L, 1 or memories, H, ·)
        sent = (weights > 0)[..., None]  # (B, L, M, 1)
        beta = self._of_memories(self.beta_proj(x)).sigmoid() * sent
        g = self.decay(self._of_memories(self.decay_proj(x))) * sent
        q, k = l2_norm(q) * q.shape[-1] ** -0.5, l2_norm(k)
        y = carry(
            "memory",
            delta,
            q.expand_as(k).flatten(2, 3),
            k.flatten(2, 3),
            v.flatten(2, 3),
            beta.flatten(2),
            g.flatten(2),
        )
        y = y.unflatten(2, (self.memories, self.heads))
        return (weights[..., None, None] * y).sum(2), x

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        return self.out_proj(self.norm(y, self.gate_proj(x)))

    def _weights(self, x: Tensor, carry: Carry) -> Tensor:
        """The weight of each memory at each token, 0 where it is not sent: (B, L, memories)."""
        p = at_least_float32(self.router(x)).softmax(-1)
        largest, chosen = p.topk(self.top_k, -1)
        weights = torch.zeros_like(p).scatter(-1, chosen, largest)
        share = (weights > 0).to(p.dtype).mean((0, 1))
        carry.loss("balance", BALANCE * self.num_memories * (share * p.mean((0, 1))).sum())
        weights = weights / weights.sum(-1, keepdim=True)
        return F.pad(weights, (0, self.memories - self.num_memories), value=1.0)

    def _of_memories(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.memories, self.heads))
