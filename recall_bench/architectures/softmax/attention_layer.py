"""Causal softmax attention: the architecture that recalls everything and carries everything."""

from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures.base import Recurrence
from recall_bench.architectures.carry import Carry
from recall_bench.kernels.attention import attention
from recall_bench.kernels.attention_at import attention_at
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rotary import rotary


class AttentionMixer(Recurrence):
    """softmax(q.k / sqrt(d)) over all tokens so far; the state is the key-value cache.

    The projections have biases, as in the published experiments on synthetic recall.
    """

    grows = True
    window: int | None = None
    """Tokens that a query sees, its own included; None means all."""

    def __init__(self, d_model: int, num_heads: int = 1, rotary: bool = False):
        super().__init__(d_model)
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.rotary = rotary
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model)

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        heads = 3, self.num_heads, self.head_dim
        y: Tensor = carry("cache", self._attend, *self.qkv(x).unflatten(-1, heads).unbind(-3))
        return y.flatten(-2)

    def finish(self, y: Tensor) -> Tensor:
        return self.out(y)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Project and answer queries at ``positions`` only; all tokens are keys."""
        heads = self.num_heads, self.head_dim
        q, kv = self.qkv.at(x, positions, self.out.in_features)
        q, kv = q.unflatten(-1, heads), kv.unflatten(-1, (2, *heads))
        if self.rotary:
            k, v = kv.unbind(-3)
            q, kv = rotary(q, positions), torch.stack([rotary(k, self._positions(x)), v], -3)
        return self.out(attention_at(q, kv, positions, self.window).flatten(-2))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, initial_state: Any = None, return_state: bool = False
    ) -> Any:
        """`attention` of queries and keys (batch, length, heads, d) turned by their positions."""
        if self.rotary:
            seen = 0 if initial_state is None else initial_state["keys"].shape[1]
            positions = torch.arange(seen, seen + q.shape[1], device=q.device)
            q, k = rotary(q, positions), rotary(k, positions)
        return attention(q, k, v, initial_state=initial_state, return_state=return_state)

    def _positions(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1], device=x.device)
