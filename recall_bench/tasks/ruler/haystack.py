"""Statements at random places in a haystack of filler: what RULER's tasks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recall_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor

LOTS = 40
"""Lots are integers of so many bits: a place in the haystack, from 0 to 1 in units of 2^-40."""
SENTENCE = 20
"""Tokens after which a haystack that repeats begins again."""


def draw_lots(rows: int, count: int, generator: Generator) -> Tensor:
    """Uniform places: int64 (rows, count)."""
    return torch.randint(1 << LOTS, (rows, count), generator=generator)


def place(lots: Tensor, size: int, room: int) -> Tensor:
    """Starts of statements of ``size`` tokens in ``room`` tokens, without overlap: (rows, n).

    Each is inserted into the ``room - n * size`` tokens of filler after the share of them that its
    lot (rows, n) says; equal shares follow the order of the lots.
    """
    n = lots.shape[1]
    bits = n.bit_length()
    packed = lots << bits | torch.arange(n)
    packed.numpy().sort(axis=1)
    order = packed & ((1 << bits) - 1)
    filler_before = (packed >> bits) * (room - n * size + 1) >> LOTS
    starts = filler_before + size * torch.arange(n)
    return torch.empty_like(starts).scatter_(1, order, starts)


def fill(room: Tensor, tokens: range, repeat: bool, generator: Generator) -> None:
    """Write filler into ``room`` (rows, n): random ``tokens``, or a sentence of them repeated."""
    if repeat:
        room[:] = tokens.start + torch.arange(room.shape[1]) % min(SENTENCE, len(tokens))
    else:
        room.random_(tokens.start, tokens.stop, generator=generator)


def lay(statements: Tensor, starts: Tensor, row: Tensor) -> None:
    """Write statements (rows, n, size) into ``row`` (rows, length), each from its start on."""
    rows, n, size = statements.shape
    position = starts[..., None] + torch.arange(size)
    row.scatter_(1, position.view(rows, n * size), statements.view(rows, n * size))
