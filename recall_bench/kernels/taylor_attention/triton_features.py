"""The features of the Taylor map in Triton, without a gather.

A feature is the product of two columns of x, and picking columns is a matrix product with zeros
and ones, exact in every precision. Kernels use f(x), the products without weights, and put the
weights on the state instead: with w those of `features.py`, phi = w f, so the state of the
reference is S = w S_raw, and phi(q) S = f(q) (w^2 S_raw).

The R rows of f are x_i x_{i-r} for r = 0..D/2-1, half a roll for r = D/2, then x_i, then 1, then
unused ones; D is d padded to 16 or 32.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_tiles import dot


class Tables(NamedTuple):
    """Tables of the features of one feature dimension d, for the kernels."""

    picks: Tensor
    """(2, R, D): which columns the rows multiply."""
    squared_weights: Tensor
    """(R,): w^2, 0 for unused rows."""
    rows: Tensor
    """(P,): the row of each packed feature of `features.feature_map`."""
    weights: Tensor
    """(P,): its w."""


def padded(d: int) -> tuple[int, int, int]:
    """D, R and the number of rows in use, in blocks of 32."""
    return (16, 192, 160) if d <= 16 else (32, 576, 576)


@functools.lru_cache(maxsize=64)
def tables(d: int, dtype: torch.dtype, device: torch.device) -> Tables:
    """The tables for products of numbers of ``dtype``."""
    D, R, _ = padded(d)
    products = D * D // 2 + D // 2
    picks = torch.zeros(2, R, D)
    for row in range(products):
        picks[0, row, row % D] = picks[1, row, (row - row // D) % D] = 1
    picks[0, range(products, products + D), range(D)] = 1
    rows, weights = [products + D], [1.0]
    for i in range(d):
        rows.append(products + i)
        weights.append(d**-0.25)
    for r in range(d // 2 + 1):
        for a in range(d // 2 if 2 * r == d else d):
            b = (a - r) % d
            i, j = (a, b) if (a - b) % D < D // 2 else (b, a)
            if (a - b) % D == D // 2:
                i, j = min(a, b), max(a, b)
            rows.append((i - j) % D * D + i)
            weights.append((2 * d) ** -0.5 if r == 0 else d**-0.5)
    squared = torch.zeros(R)
    squared[rows] = torch.tensor(weights).square()
    return Tables(
        picks.to(device, dtype),
        squared.to(device),
        torch.tensor(rows, device=device),
        torch.tensor(weights, device=device),
    )


@triton.jit
def load_picks(picks, block, D: tl.constexpr, R: tl.constexpr, RB: tl.constexpr):
    """The picks of both factors of one block of RB rows: (RB, D) each."""
    row = block * RB + tl.arange(0, RB)
    first = tl.load(picks + row[:, None] * D + tl.arange(0, D)[None, :])
    return first, tl.load(picks + (R + row)[:, None] * D + tl.arange(0, D)[None, :])


@triton.jit
def constants(block, D: tl.constexpr, RB: tl.constexpr):
    """Addends of both factors, (RB,) each: 1 if a row has no column for that factor."""
    row = block * RB + tl.arange(0, RB)
    products: tl.constexpr = D * D // 2 + D // 2
    one = (row == products + D).to(tl.float32)
    return one, ((row >= products) & (row <= products + D)).to(tl.float32)


@triton.jit
def factors(
    x, first, second, block,
    D: tl.constexpr, RB: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Both factors of one block of the features of x (C, D): (C, RB) each."""
    one, other = constants(block, D, RB)
    a = dot(x, tl.trans(first), DTYPE, PRECISION) + one[None, :]
    return a, dot(x, tl.trans(second), DTYPE, PRECISION) + other[None, :]


@triton.jit
def through_factors(df, a, b, first, second, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """The gradient of x (C, D) from the gradient df (C, RB) of the block's features."""
    return dot(df * b, first, DTYPE, PRECISION) + dot(df * a, second, DTYPE, PRECISION)
