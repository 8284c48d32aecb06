"""Causal softmax attention: the architecture that recalls everything and carries everything."""

from typing import Any

import torch
from torch import Tensor

from recall_bench.architectures.base import Recurrence, draw_branch_end
from recall_bench.architectures.carry import Carry
from recall_bench.architectures.softmax.dropped_attention_layer import dropped_attention
from recall_bench.kernels.attention import attention
from recall_bench.kernels.attention_at import attention_at
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rotary import rotary


class AttentionMixer(Recurrence):
    """softmax(q.k / sqrt(d)) over all tokens so far; the state is the key-value cache.

    The projections have biases, as in the published experiments on synthetic recall. In training,
    ``dropout`` drops attention weights.
    """

    grows = True
    window: int | None = None
    """Tokens that a query sees, its own included; None means all."""
    dropout: float = 0.0
    _layer: int = 0

    def __init__(self, d_model: int, num_heads: int = 1, rotary: bool = False):
        super().__init__(d_model)
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.rotary = rotary
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model)

    def draw_as_zoology(self, layer: int, layers: int, dropout: float = 0.0) -> None:
        """Start as Figure 2's code does: a smaller out_proj, and ``dropout`` in training."""
        draw_branch_end(self.out.weight, layers)
        self._layer, self.dropout = layer, dropout

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        if self.dropout and carry.seed is not None:
            positions = self._positions(x).expand(len(x), -1)
            return self._attend_dropped(x, positions, carry.seed)
        heads = 3, self.num_heads, self.head_dim
        y: Tensor = carry("cache", self._attend, *self.qkv(x).unflatten(-1, heads).unbind(-3))
        return y.flatten(-2)

    def finish(self, y: Tensor) -> Tensor:
        return self.out(y)

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Project and answer queries at ``positions`` only; all tokens are keys."""
        if self.dropout and self.training and self.seed is not None:
            return self.out(self._attend_dropped(x, positions, self.seed))
        q, kv = self._query(x, positions)
        return self.out(attention_at(q, kv, positions, self.window).flatten(-2))

    def _attend_dropped(self, x: Tensor, positions: Tensor, seed: Tensor) -> Tensor:
        q, kv = self._query(x, positions)
        k, v = kv.unbind(-3)
        dropped = dropped_attention(
            q, k, v, positions, self.window, self.dropout, seed, self._layer
        )
        return dropped.flatten(-2)

    def _query(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """q (B, Q, heads, d) at the positions (B, Q); keys and values (B, L, 2, heads, d)."""
        heads = self.num_heads, self.head_dim
        q, kv = self.qkv.at(x, positions, self.out.in_features)
        q, kv = q.unflatten(-1, heads), kv.unflatten(-1, (2, *heads))
        if self.rotary:
            k, v = kv.unbind(-3)
            q, kv = rotary(q, positions), torch.stack([rotary(k, self._positions(x)), v], -3)
        return q, kv

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
