"""Where each number of a row stood before."""

import torch
from torch import Tensor


def previous(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest earlier place of each number in its row, and whether there is one.

    ``numbers`` are int64 (rows, n), from 0 to below 2^63 / 2n; the results are int64 and bool of
    that shape. The place is 0 where there is none.
    """
    rows, n = numbers.shape
    bits = n.bit_length()
    packed = numbers << bits | torch.arange(n)
    packed.numpy().sort(axis=1)  # by number, then by place
    place = packed & ((1 << bits) - 1)
    same = (packed[:, 1:] >> bits) == (packed[:, :-1] >> bits)
    found = torch.zeros(rows, n, dtype=torch.bool).scatter_(1, place[:, 1:], same)
    earlier = torch.zeros(rows, n, dtype=torch.int64).scatter_(1, place[:, 1:], place[:, :-1])
    return earlier * found, found
