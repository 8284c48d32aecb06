"""The dtype of products under autocast, and a block that turns autocast off."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which tensors on ``device`` keep their precision.

    Squared scores and products of many decays need it.
    """
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype of products with x: autocast's if it is on, else that of x."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
