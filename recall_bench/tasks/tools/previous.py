"""Earlier occurrences of each number of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recall_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def previous(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest earlier place of each number in its row, and whether there is one.

    ``numbers`` are int64 (rows, n), from 0 to below 2^63 / 2n; the results are int64 and bool of
    that shape. The place is 0 where there is none.
    """
    place, same = _by_number(numbers)
    repeated = torch.zeros_like(numbers, dtype=torch.bool).scatter_(1, place[:, 1:], same)
    earlier = torch.zeros_like(numbers).scatter_(1, place[:, 1:], place[:, :-1])
    return earlier * repeated, repeated


def first(numbers: Tensor) -> Tensor:
    """The first place of each number in its row, its own if it is new; shapes as in `previous`."""
    place, same = _by_number(numbers)
    rank = torch.arange(numbers.shape[1]).repeat(len(numbers), 1)
    rank[:, 1:].masked_fill_(same, 0)
    start = rank.cummax(1).values  # of the run of equal numbers
    return torch.empty_like(numbers).scatter_(1, place, place.gather(1, start))


def _by_number(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The places (rows, n) by number, then by place; (rows, n - 1) which equal the one before."""
    n = numbers.shape[1]
    bits = n.bit_length()
    packed = numbers << bits | torch.arange(n)
    packed.numpy().sort(axis=1)
    number = packed >> bits
    return packed & ((1 << bits) - 1), number[:, 1:] == number[:, :-1]
