"""Rotary position embedding in Triton, in one pass; backward turns the other way.

Dimensions: S sets of positions, N sequences of each, T tokens, H heads of two HALF; tiles of R
tokens and C pairs. A program computes the angles of its tokens once, and turns several of the
heads and sequences that share them.
"""
# mypy: disable-error-code="no-untyped-def"

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.rotary.reference import BASE

OCTAVES = tl.constexpr(math.log2(BASE))
FIRST = tl.constexpr(64 - math.log2(2 * math.pi))
"""log2 of the first frequency, in units of 2^-64 turns per position."""
RADIANS = tl.constexpr(2 * math.pi / 2**32)


@triton.jit
def _angles(position, i, HALF: tl.constexpr):
    """position * BASE^(-i / HALF) in radians, less whole turns: (R, C) in -pi … pi.

    In units of 2^-64 turns the product is exact, and overflow drops whole turns. In float32 it
    would have the rounding error of an angle of thousands.
    """
    frequency = tl.exp2(i.to(tl.float64) * (-OCTAVES / HALF) + FIRST).to(tl.int64)
    turns = position.to(tl.int64)[:, None] * frequency[None, :]
    return (turns >> 32).to(tl.int32).to(tl.float32) * RADIANS


@triton.jit
def _kernel(
    x, positions, y, x_s, x_n, x_t, x_h, positions_s, positions_t, N, T, H, groups, count,
    BACK: tl.constexpr, HALF: tl.constexpr, R: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """One of the ``groups`` of ``count`` heads, in any of N sequences, at R tokens; BACK turns the
    other way."""
    group = tl.program_id(0) % groups
    tile = tl.program_id(0) // groups
    s = (tile // tl.cdiv(T, R)).to(tl.int64)
    t = tile % tl.cdiv(T, R) * R + tl.arange(0, R)
    i = tl.arange(0, C)
    position = tl.load(positions + s * positions_s + t * positions_t, mask=t < T, other=0)
    angle = _angles(position, i, HALF)
    cos, sin = tl.cos(angle), tl.sin(angle)
    if BACK:
        sin = -sin
    inside = (t < T)[:, None] & (i < HALF)[None, :]
    x += s * x_s + t.to(tl.int64)[:, None] * x_t + i[None, :]
    y += (s * N * T + t[:, None]) * H * (2 * HALF) + i[None, :]
    for index in range(group * count, tl.minimum((group + 1) * count, N * H)):
        n, h = (index // H).to(tl.int64), (index % H).to(tl.int64)
        source = x + n * x_n + h * x_h
        first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
        target = y + (n * T * H + h) * (2 * HALF)
        turned = first * cos - second * sin
        tl.store(target, turned.to(y.dtype.element_ty), mask=inside)
        turned = first * sin + second * cos
        tl.store(target + HALF, turned.to(y.dtype.element_ty), mask=inside)


TILE = 1024  # pairs
PROGRAMS = 2112  # sixteen for each multiprocessor of a large GPU


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def rotary(x: Tensor, positions: Tensor) -> Tensor:
    """See `recall_bench.kernels.rotary.rotary`."""
    y: Tensor = _rotary(x, positions, False)
    return y


def _by_positions(x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """x (S, N, T, H, d) and its positions (S, T), shared by N."""
    sequences = rows_contiguous(x.reshape(-1, *x.shape[-3:]))
    if positions.dim() < 2:
        return sequences[None], positions.expand(1, x.shape[-3])
    own = positions.broadcast_to(x.shape[:-2]).reshape(-1, x.shape[-3])
    return sequences[:, None], own


def _forward(x: Tensor, positions: Tensor, back: bool) -> Tensor:
    y = _shapes(x, positions, back)
    if y.numel() == 0:
        return y
    x, positions = _by_positions(x, positions)
    S, N, T, H, d = x.shape
    C = triton.next_power_of_2(d // 2)
    R = max(1, TILE // C)
    tiles = S * triton.cdiv(T, R)
    count = max(1, min(N * H, tiles * N * H // PROGRAMS))
    groups = triton.cdiv(N * H, count)
    _kernel[(tiles * groups,)](
        x, positions, y, *x.stride()[:4], *positions.stride(), N, T, H, groups, count,
        BACK=back, HALF=d // 2, R=R, C=C, num_warps=4,
    )  # fmt: skip
    return y


def _shapes(x: Tensor, positions: Tensor, back: bool) -> Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, positions, ctx.back = inputs
    ctx.save_for_backward(positions)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    return _rotary_op(dy, *ctx.saved_tensors, not ctx.back), None, None


_rotary_op = torch.library.custom_op("recall_bench::rotary", _forward, mutates_args=())
_rotary_op.register_fake(_shapes)
_rotary_op.register_autograd(_differentiate, setup_context=_save)
_rotary = differentiable(_rotary_op, _forward, _save, _differentiate)
