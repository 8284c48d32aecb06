"""Embedding lookup in plain PyTorch, on any device; also the training path on CPU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.embedding.order import TokenOrder

LEVELS = 1 << 16
"""Dropout compares 16 random bits: its probability is a multiple of one in this many."""


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
    return rows * _mask(rows, dropped, seed)


def _mask(rows: Tensor, dropped: int, seed: Tensor) -> Tensor:
    """Zero, or the factor that keeps the mean: like ``rows``.

    Bits by the word: drawn one number at a time they would take a CPU longer than a linear map.
    """
    if rows.device.type == "meta":
        return torch.empty_like(rows)
    generator = torch.Generator(rows.device).manual_seed(int(seed))
    words = torch.empty(-(-rows.numel() // 4), dtype=torch.int64, device=rows.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)
    kept = bits[: rows.numel()].view(rows.shape) >= dropped - LEVELS // 2
    return kept.to(rows.dtype) * (LEVELS / (LEVELS - dropped))
