"""Distances rounded to few groups, by which accuracy is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recall_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def round_up(distances: Tensor) -> Tensor:
    """Each distance (int64, any shape) rounded up to a power of two; 0 becomes 1.

    An answer that lies ``distance`` tokens back is in reach of a window of w tokens, a power of
    two, exactly where the rounded distance is at most w.
    """
    exponent = torch.frexp((distances - 1).clamp(min=0).double()).exponent
    return torch.ones_like(distances) << exponent.long()
