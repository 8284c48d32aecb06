"""Vectorised draws without replacement, one row of results for each example.

Randomness comes from the given CPU generator alone. Sorting goes through numpy, whose row sort
is several times faster than torch's and, on distinct integers, has one possible result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recall_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor


def sort_rows(numbers: Tensor) -> Tensor:
    """A copy of an integer tensor (rows, n) with every row sorted."""
    copy = numbers.clone(memory_format=torch.contiguous_format)
    copy.numpy().sort(axis=1)
    return copy


def choose_distinct(rows: int, count: int, size: int, generator: Generator) -> Tensor:
    """Uniform ordered draws of ``count`` of ``size`` numbers without replacement: (rows, count).

    Repeated numbers are drawn again, the later position of two, until none is left. Which
    positions are drawn again depends on equality alone, so renaming the numbers changes nothing
    and every sequence of distinct numbers stays equally likely.
    """
    if 4 * count > size:
        return _shuffle(rows, size, generator)[:, :count].contiguous()
    bits = count.bit_length()
    drawn = torch.randint(size, (rows, count), generator=generator)
    open_rows = torch.arange(rows)
    while len(open_rows):
        packed = drawn[open_rows] << bits | torch.arange(count)
        packed.numpy().sort(axis=1)  # by number, then by position
        same = (packed[:, 1:] >> bits) == (packed[:, :-1] >> bits)
        row, rank = same.nonzero(as_tuple=True)
        position = packed[row, rank + 1] & ((1 << bits) - 1)
        row = open_rows[row]
        drawn[row, position] = torch.randint(size, (len(row),), generator=generator)
        open_rows = row.unique_consecutive()
    return drawn


def choose_weighted(rows: int, count: int, weights: Tensor, generator: Generator) -> Tensor:
    """Successive draws without replacement, each proportional to the weights left: (rows, count).

    An exponential race: the clock of item i rings at Exp(1) / weight_i, and the order of the rings
    is the order of the draws. ``weights`` is float64 (items,).
    """
    clocks = torch.rand(rows, len(weights), dtype=torch.float64, generator=generator)
    clocks.log_().div_(-weights)
    # Positive floats sort as their bits do: the index rides in the lowest bits of the mantissa.
    return _sort_with_index(clocks.view(torch.int64))[:, :count].contiguous()


def choose_outside(excluded: Tensor, size: int, count: int, generator: Generator) -> Tensor:
    """Uniform draws, with replacement, of numbers below ``size`` that are not in ``excluded``.

    ``excluded`` is int64 (rows, k), distinct within a row and k below ``size``; the result is int32
    (rows, count).
    """
    rows, k = excluded.shape
    # The r-th number left lies above every excluded one with at most r of those left below it, so
    # it is r plus how many excluded ones there are of that kind.
    rank = torch.randint(size - k, (rows, count), generator=generator, dtype=torch.int32)
    left_below = (sort_rows(excluded) - torch.arange(k)).int()  # (rows, k), rising
    above = torch.searchsorted(left_below, rank, right=True, out_int32=True)
    return rank + above


def _shuffle(rows: int, size: int, generator: Generator) -> Tensor:
    """Uniform permutations of ``size`` numbers: (rows, size)."""
    numbers = torch.empty(rows, size, dtype=torch.int64).random_(generator=generator)
    return _sort_with_index(numbers)


def _sort_with_index(numbers: Tensor) -> Tensor:
    """The order that sorts each row of (rows, n), low bits aside; overwrites ``numbers``."""
    n = numbers.shape[1]
    mask = (1 << n.bit_length()) - 1
    numbers.bitwise_and_(~mask).bitwise_or_(torch.arange(n))
    numbers.numpy().sort(axis=1)
    return numbers.bitwise_and_(mask)
