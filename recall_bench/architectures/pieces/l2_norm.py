"""Queries and keys of unit length."""

import torch
from torch import Tensor

EPS = 1e-6
"""Added to the squared length, as flash-linear-attention does."""


def l2_norm(x: Tensor) -> Tensor:
    """x / sqrt(sum x^2 + EPS) along the last axis."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS)
