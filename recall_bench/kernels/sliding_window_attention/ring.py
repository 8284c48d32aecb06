"""The ring in which sliding-window attention keeps the last keys and values.

B batch, L length, W window, G key-value heads, d head dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class WindowState(NamedTuple):
    """The last W keys and values in a ring: token t lies in slot t mod W."""

    keys: Tensor
    """(B, W, G, d)."""
    values: Tensor
    """(B, W, G, d)."""
    position: Tensor
    """(B,) int64: the number of tokens so far."""


def ring(keys: Tensor, values: Tensor, window: int) -> WindowState:
    """The ring after all of ``keys`` and ``values`` (B, L, G, d); unused slots hold zeros."""
    batch, length = keys.shape[:2]

    def last(x: Tensor) -> Tensor:
        if length < window:
            return F.pad(x, (0, 0, 0, 0, 0, window - length))
        return x[:, length - window :].roll(length % window, 1)

    position = torch.full((batch,), length, dtype=torch.int64, device=keys.device)
    return WindowState(last(keys), last(values), position)


def unrolled(slots: Tensor, position: Tensor) -> Tensor:
    """The ring (B, W, …) in order of time, unused slots first, then the oldest."""
    return _rotated(slots, position)


def rolled(tokens: Tensor, position: Tensor) -> Tensor:
    """The inverse of `unrolled`: the ring of the last W of ``position`` tokens (B, W, …)."""
    return _rotated(tokens, -position)


def _rotated(x: Tensor, shift: Tensor) -> Tensor:
    """Slot i of the result is slot i + shift mod W, with a shift (B,) for each sequence."""
    window = x.shape[1]
    source = (torch.arange(window, device=x.device) + shift[:, None]) % window  # (B, W)
    return x.gather(1, source[:, :, None, None].expand_as(x))
