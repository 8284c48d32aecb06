"""Keeping autocast away from arithmetic that would not survive it."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block in which tensors on ``device`` keep the precision that they have.

    Scores that are squared and decays that are multiplied up need it.
    """
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
