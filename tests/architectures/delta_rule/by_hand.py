"""Pieces of the delta rules' layers, token by token, written from the papers."""

import torch
from torch import Tensor
from torch.nn import functional as F


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """silu(sum_i weight[:, K - 1 - i] x_{t-i}): x (L, D), weight (D, K) -> (L, D)."""
    rows = []
    for t in range(len(x)):
        total = torch.zeros_like(x[0])
        for i in range(min(t + 1, weight.shape[1])):
            total = total + weight[:, weight.shape[1] - 1 - i] * x[t - i]
        rows.append(F.silu(total))
    return torch.stack(rows)


def unit(x: Tensor) -> Tensor:
    """A vector of unit length, with flash-linear-attention's eps."""
    return x / (x @ x + 1e-6).sqrt()


def normed(y: Tensor, weight: Tensor) -> Tensor:
    """rms_norm of one head's output."""
    return y / (y.square().mean() + 1e-5).sqrt() * weight


def corrected(S: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """(I - beta k k^T) S + beta k v^T: S (d_k, d_v)."""
    kept = torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k)
    return kept @ S + beta * torch.outer(k, v)
