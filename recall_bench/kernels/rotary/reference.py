"""Rotary position embedding (RoFormer, arXiv 2104.09864, section 3.2)."""

import torch
from torch import Tensor

BASE = 10_000.0


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i+d/2}) by the angle position * BASE^(-2i/d), in at least float32.

    x is (…, heads, d) with d even; ``positions`` broadcasts with what precedes heads: (length,)
    for x (batch, length, heads, d), (batch,) for x (batch, heads, d).
    """
    half = x.shape[-1] // 2
    dtype = torch.promote_types(x.dtype, torch.float32)
    frequencies = BASE ** (-torch.arange(half, device=x.device, dtype=dtype) / half)
    angles = (positions[..., None] * frequencies)[..., None, :]  # (…, 1, d/2)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.to(dtype).chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)
