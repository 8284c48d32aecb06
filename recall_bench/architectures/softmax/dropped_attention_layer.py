"""Softmax attention whose weights are dropped at random, for training only."""

import torch
from torch import Tensor

from recall_bench.kernels.embedding.reference import LEVELS, dropout_mask

BETWEEN_LAYERS = 0x5851F42D4C957F2D
"""An odd constant, so that every layer has masks of its own in every step."""


def dropped_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    window: int | None,
    dropout: float,
    seed: Tensor,
    layer: int = 0,
) -> Tensor:
    """Causal softmax attention with dropout on its weights, after the softmax.

    Each weight is zero with probability ``dropout``, and the others grow by 1 / (1 - dropout), as
    in zoology's attention. ``seed`` and ``layer`` decide which; nothing waits for the device.

    Args:
        q: (batch, queries, heads, d), queries at ``positions`` (batch, queries).
        k, v: (batch, length, heads, d).
        window: the number of keys a query sees, including the one at its position; all if None.
        seed: an int64 scalar on the same device.

    Returns:
        (batch, queries, heads, d).
    """
    scores = torch.einsum("bqhd,blhd->bhql", q, k) * q.shape[-1] ** -0.5
    back = positions[:, None, :, None] - torch.arange(k.shape[1], device=k.device)  # (B, 1, Q, L)
    hidden = back < 0 if window is None else (back < 0) | (back >= window)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    shift = ((layer + 1) * BETWEEN_LAYERS) % 2**63
    mask = dropout_mask(weights, round(dropout * LEVELS), seed + shift)
    return torch.einsum("bhql,blhd->bqhd", weights * mask, v)
