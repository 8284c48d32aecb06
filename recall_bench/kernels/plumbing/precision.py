"""What autocast makes of products, and how arithmetic that would not survive it is kept away."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which tensors on ``device`` keep the precision that they have.

    Scores that are squared and decays that are multiplied up need it.
    """
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype of products with x: that of autocast where it is on, else its own."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
