"""Embedding lookup in plain PyTorch, on any device; also the training path on CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.embedding.order import TokenOrder

LEVELS = 1 << 16
"""Dropout compares 16 random bits, so its probability is a multiple of 1 / LEVELS."""


def embedding(
    tokens: Tensor,
    weight: Tensor,
    order: TokenOrder | None = None,
    dropped: int = 0,
    seed: Tensor | None = None,
) -> Tensor:
    """See `recall_bench.kernels.embedding.embedding`; ``dropped`` in `LEVELS`, the order unused."""
    rows = F.embedding(tokens, weight)
    if dropped == 0 or seed is None or rows.numel() == 0:
        return rows
    return rows * dropout_mask(rows, dropped, seed)


GOLDEN, FIRST, SECOND, STREAM = (
    0x9E3779B97F4A7C15 - 2**64,
    0xBF58476D1CE4E5B9 - 2**64,
    0x94D049BB133111EB - 2**64,
    0xD1B54A32D192ED03 - 2**64,
)
"""The multipliers of SplitMix64 (Steele, Lea and Flood 2014), and one that separates seeds."""


def dropout_mask(rows: Tensor, dropped: int, seed: Tensor) -> Tensor:
    """Zeros, and elsewhere the factor that keeps the mean: like ``rows``, equal on all devices.

    SplitMix64 turns the seed and a place into 64 bits, which four numbers share: one draw per
    number would take a CPU longer than a linear map. Nothing waits for the device.
    """
    words = torch.arange(-(-rows.numel() // 4), device=rows.device) * GOLDEN + seed * STREAM
    words = _fold(_fold(words, 30) * FIRST, 27) * SECOND
    bits = _fold(words, 31).view(torch.int16)[: rows.numel()].view(rows.shape)
    return (bits >= dropped - LEVELS // 2).to(rows.dtype) * (LEVELS / (LEVELS - dropped))


def _fold(words: Tensor, shift: int) -> Tensor:
    """words ^ (words >> shift), with words taken as unsigned."""
    return words ^ ((words >> shift) & ((1 << (64 - shift)) - 1))
