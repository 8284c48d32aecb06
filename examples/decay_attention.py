"""A plugin: linear attention whose memory fades, as in RetNet (arXiv 2307.08621, section 2.1).

recall-bench check examples/decay_attention.py
recall-bench sweep --plugin examples/decay_attention.py --arch decay-attention --head-dim 16,32
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from recall_bench.architectures import Architecture, Carry, Mixer, Recurrence
from recall_bench.registry import register_architecture


class DecayAttentionMixer(Recurrence):
    """y_t = q_t S_t with S_t = g S_(t-1) + k_t^T v_t; each head has a decay g of its own."""

    log_decay: Tensor  # (heads, 1)

    def __init__(self, d_model: int, num_heads: int, head_dim: int):
        super().__init__(d_model)
        self.heads = (num_heads, head_dim)
        self.qkv = nn.Linear(d_model, 3 * num_heads * head_dim, bias=False)
        self.out = nn.Linear(num_heads * head_dim, d_model, bias=False)
        decay = 1 - 2.0 ** -torch.arange(5, 5 + num_heads)
        self.register_buffer("log_decay", decay.log()[:, None])

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, *self.heads)).unbind(-3)  # (B, L, H, d)
        return carry("memory", self.recall, q * q.shape[-1] ** -0.5, k, v).flatten(-2)

    def finish(self, y: Tensor) -> Tensor:
        return self.out(y)

    def recall(self, q, k, v, initial_state=None, return_state=False):
        """The tokens of this call see each other through scores, and the past through S."""
        length = q.shape[1]
        position = torch.arange(length, device=q.device)
        age = (position[:, None] - position).clamp(min=0)  # how many tokens before i is j?
        decay = (self.log_decay[..., None] * age).exp().tril()  # (heads, i, j)
        scores = torch.einsum("bihd, bjhd -> bhij", q, k) * decay
        y = torch.einsum("bhij, bjhd -> bihd", scores, v)
        faded = (self.log_decay * (length - 1 - position)).exp()  # (heads, j)
        memory = torch.einsum("hj, bjhd, bjhe -> bhde", faded, k, v)
        if initial_state is not None:
            since = (self.log_decay * (position + 1)).exp()  # (heads, i)
            y = y + torch.einsum("hi, bihd, bhde -> bihe", since, q, initial_state)
            memory = memory + (self.log_decay * length).exp()[..., None] * initial_state
        return (y, memory) if return_state else y


@register_architecture("decay-attention")
class DecayAttention(Architecture):
    """Short convolution + fading linear attention; the state is head_dim^2 numbers a head."""

    num_heads: int = Field(2, ge=1, le=16, description="heads, each remembering twice as long")
    head_dim: int = Field(32, ge=1, le=1024, description="width of queries, keys and values")

    def mixer(self) -> Mixer:
        return DecayAttentionMixer(self.d_model, self.num_heads, self.head_dim)
