"""Rotary position embedding in plain PyTorch, on any device; also the training path on CPU."""

import torch
from torch import Tensor

BASE = 10_000.0


def rotary(x: Tensor, positions: Tensor) -> Tensor:
    """See `recall_bench.kernels.rotary.rotary`; the angles are in at least float32."""
    half = x.shape[-1] // 2
    dtype = torch.promote_types(x.dtype, torch.float32)
    frequencies = BASE ** (-torch.arange(half, device=x.device, dtype=dtype) / half)
    angles = (positions[..., None] * frequencies)[..., None, :]  # (…, 1, d/2)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.to(dtype).chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)
