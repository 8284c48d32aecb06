"""A plugin: linear attention whose memory fades, as in RetNet (arXiv 2307.08621, section 2.1).

recall-bench check examples/decay_attention.py
recall-bench sweep --plugin examples/decay_attention.py --arch decay-attention --head-dim 16,32
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from recall_bench.architectures import Architecture, Mixer, State
from recall_bench.registry import register_architecture


class DecayAttentionMixer(Mixer):
    """y_t = q_t S_t with S_t = g S_(t-1) + k_t^T v_t; each head has a decay g of its own."""

    log_decay: Tensor  # (heads, 1, 1)

    def __init__(self, d_model: int, num_heads: int, head_dim: int):
        super().__init__()
        self.heads = (num_heads, head_dim)
        self.qkv = nn.Linear(d_model, 3 * num_heads * head_dim, bias=False)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=False)
        decay = 1 - 2.0 ** -torch.arange(5, 5 + num_heads)
        self.register_buffer("log_decay", decay.log()[:, None, None])

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(…, width) -> q, k, v (…, heads, head_dim)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, *self.heads)).unbind(-3)
        return q * q.shape[-1] ** -0.5, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x)
        position = torch.arange(x.shape[1], device=x.device)
        age = position[:, None] - position  # how many tokens before i is j?
        decay = (self.log_decay * age).exp().tril()  # (heads, i, j)
        scores = torch.einsum("bihd, bjhd -> bhij", q, k) * decay
        return self.out(torch.einsum("bhij, bjhd -> bihd", scores, v).flatten(-2))

    def initial_state(self, batch_size: int) -> State:
        heads, dim = self.heads
        return {"memory": self.zeros(batch_size, heads, dim, dim)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        q, k, v = self.project(x)  # (batch, heads, head_dim)
        memory = self.log_decay.exp() * state["memory"] + k[..., :, None] * v[..., None, :]
        return self.out((q[..., None, :] @ memory).flatten(1)), {"memory": memory}


@register_architecture("decay-attention")
class DecayAttention(Architecture):
    """Short convolution + fading linear attention; the state is head_dim^2 numbers a head."""

    num_heads: int = Field(2, ge=1, le=16, description="heads, each remembering twice as long")
    head_dim: int = Field(32, ge=1, le=1024, description="width of queries, keys and values")

    def mixer(self) -> Mixer:
        return DecayAttentionMixer(self.d_model, self.num_heads, self.head_dim)
