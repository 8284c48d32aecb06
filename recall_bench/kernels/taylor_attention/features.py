"""The feature map of Based, and the state of linear attention with it.

B batch, H heads, d feature dimension, dv value dimension, P packed features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class TaylorState(NamedTuple):
    """The state of Taylor attention: float32, or float64 for float64 inputs."""

    kv: Tensor
    """(B, H, P, dv): sum of phi(k_j) v_j^T."""
    z: Tensor
    """(B, H, P): sum of phi(k_j)."""


def packed_size(d: int) -> int:
    """P: one constant, d linear and d(d+1)/2 quadratic features."""
    return 1 + d + d * (d + 1) // 2


def feature_map(x: Tensor) -> Tensor:
    """phi of Based (arXiv 2402.18668, section 4), symmetric products packed: (…, d) -> (…, P).

    phi(q).phi(k) = 1 + s + s^2/2 with s = q.k / sqrt(d). Order: 1; x_i; then for each roll
    r = 0 … d//2 the products x_i x_{(i-r) mod d}, i = 0 … d-1, of which the last roll of an even d
    keeps i < d/2. Weights: 1; d^(-1/4); for the products d^(-1/2), and for the squares (r = 0)
    that over sqrt(2).
    """
    d = x.shape[-1]
    x = x * d**-0.25
    twice = torch.cat([x, x], -1)
    products = [x * x * math.sqrt(0.5)]
    for r in range(1, d // 2 + 1):
        kept = d // 2 if 2 * r == d else d
        products.append(x[..., :kept] * twice[..., d - r : d - r + kept])
    return torch.cat([torch.ones_like(x[..., :1]), x, *products], -1)
