"""Attention of a few queries in plain PyTorch, on any device; also the training path on CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_at(q: Tensor, kv: Tensor, positions: Tensor, window: int | None = None) -> Tensor:
    """See `recall_bench.kernels.attention_at.attention_at`."""
    age = positions[..., None] - torch.arange(kv.shape[1], device=q.device)
    seen = age >= 0  # (B, Q, L)
    if window is not None:
        seen = seen & (age < window)
    q, k, v = (x.transpose(1, 2) for x in (q, *kv.unbind(2)))  # (B, H, Q or L, d)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None]).transpose(1, 2)
