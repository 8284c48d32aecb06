"""Causal softmax attention: the architecture that recalls everything and carries everything."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.architectures.base import Mixer, State
from recall_bench.kernels.attention import attention
from recall_bench.kernels.attention_at import attention_at
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rotary import rotary


class AttentionMixer(Mixer):
    """softmax(q.k / sqrt(d)) over all tokens so far; the state is the key-value cache.

    The projections have biases, as in the published experiments on synthetic recall.
    """

    grows = True
    window: int | None = None
    """How many tokens a query sees, itself included; all where None."""

    def __init__(self, d_model: int, num_heads: int = 1, rotary: bool = False):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.rotary = rotary
        self.qkv = Linear(d_model, 3 * d_model)
        self.out = Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self._attend(*self._project(x, self._positions(x)))

    def prefill(self, x: Tensor) -> tuple[Tensor, State]:
        q, k, v = self._project(x, self._positions(x))
        return self._attend(q, k, v), {"keys": k.contiguous(), "values": v.contiguous()}

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        """Queries are projected and answered at ``positions`` alone; all tokens are keys."""
        heads = self.num_heads, self.head_dim
        q, kv = self.qkv.at(x, positions, self.out.in_features)
        q, kv = q.unflatten(-1, heads), kv.unflatten(-1, (2, *heads))
        if self.rotary:
            k, v = kv.unbind(-3)
            q, kv = rotary(q, positions), torch.stack([rotary(k, self._positions(x)), v], -3)
        return self.out(attention_at(q, kv, positions, self.window).flatten(-2))

    def initial_state(self, batch_size: int) -> State:
        empty = self.zeros(batch_size, 0, self.num_heads, self.head_dim)
        return {"keys": empty, "values": empty.clone()}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen = state["keys"].shape[1]
        q, k, v = self._project(x[:, None], torch.arange(seen, seen + 1, device=x.device))
        keys = torch.cat([state["keys"], k], 1)  # (batch, tokens, heads, d)
        values = torch.cat([state["values"], v], 1)
        q, k, v = (part.transpose(1, 2) for part in (q, keys, values))
        y = F.scaled_dot_product_attention(q, k, v)  # (batch, heads, 1, d)
        return self.out(y.flatten(1)), {"keys": keys, "values": values}

    def _positions(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1], device=x.device)

    def _project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(…, width) -> q, k, v (…, heads, d), q and k turned by their positions if rotary."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(-3)
        if self.rotary:
            q, k = rotary(q, positions), rotary(k, positions)
        return q, k, v

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (batch, length, heads, d) of a whole sequence -> (batch, length, width)."""
        return self.out(attention(q, k, v).flatten(-2))
