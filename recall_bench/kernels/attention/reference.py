"""Causal attention by PyTorch, which has fast kernels of its own for most devices and dtypes."""

from torch import Tensor
from torch.nn import functional as F


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """See `recall_bench.kernels.attention.attention`."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H, L, d)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
