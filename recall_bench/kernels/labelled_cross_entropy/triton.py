"""The labelled cross-entropy in Triton: attention whose keys and values are the vocabulary.

Dimensions: N rows, D width, V vocabulary; tiles of M rows, T tokens and C columns of D (CHUNKS
times C >= D). x = hidden . weight are the logits, p = softmax(x). The forward pass is that of
attention (Dao et al., arXiv 2205.14135, algorithm 1): beside the log-sum-exp it sums p . weight,
and that less the target's row is the gradient of ``hidden``. The gradient of ``weight`` is a second
pass that recomputes p. Where few rows would leave the device idle, the forward pass splits the
vocabulary and the second one the rows; the parts are summed in a fixed order.

The products take 16-bit copies of both inputs, padded to whole tiles. Where TF32 is asked for they
are float16, which has the same 10 bits of mantissa at twice the speed, and a power of two brings
each tensor into its range.
"""
# mypy: disable-error-code="no-untyped-def"

import functools
from typing import Any, NamedTuple, TypeAlias

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.labelled_cross_entropy.reference import IGNORE
from recall_bench.kernels.triton_support import (
    differentiable,
    interpreted,
    on_own_device,
    unavailable_for,
)

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
LIFT: tl.constexpr = tl.constexpr(12)
"""Probabilities are multiplied by 2^LIFT before they become float16: 1 / V is far from its end."""
PARTS: tl.constexpr = tl.constexpr(128)
"""Programs that look for the largest element of a tensor."""


@triton.jit
def _read(x, row, rows, row_stride, stride, D, DP: tl.constexpr):
    """Rows ``row`` of x (rows, D), zeros beyond both edges: (…, DP) float32."""
    d = tl.arange(0, DP)
    at = row.to(tl.int64)[:, None] * row_stride + d.to(tl.int64)[None, :] * stride
    return tl.load(x + at, mask=(row < rows)[:, None] & (d < D)[None, :], other=0.0).to(tl.float32)


@triton.jit
def _largest(x, part, rows, row_stride, stride, D, ROWS: tl.constexpr, DP: tl.constexpr):
    found = tl.zeros((ROWS,), tl.float32)
    for first in range(part * ROWS, rows, PARTS * ROWS):
        tile = _read(x, first + tl.arange(0, ROWS), rows, row_stride, stride, D, DP)
        found = tl.maximum(found, tl.max(tl.abs(tile), 1))
    return tl.max(found, 0)


@triton.jit
def _largest_kernel(
    hidden, weight, largest, h_n, h_d, w_v, w_d, N, V, D, ROWS: tl.constexpr, DP: tl.constexpr
):
    """The largest |x| in every PARTS-th tile of ROWS rows of both tensors: (2, PARTS)."""
    part = tl.program_id(0)
    if part < PARTS:
        found = _largest(hidden, part, N, h_n, h_d, D, ROWS, DP)
    else:
        found = _largest(weight, part - PARTS, V, w_v, w_d, D, ROWS, DP)
    tl.store(largest + part, found)


@triton.jit
def _scale(largest, which):
    """The power of two, at most 2^100 from 1, that brings a tensor's elements below 2^15."""
    top = tl.max(tl.load(largest + which * PARTS + tl.arange(0, PARTS)), 0)
    exponent = 14 - ((top.to(tl.int32, bitcast=True) >> 23) - 127)
    exponent = tl.minimum(tl.maximum(exponent, -100), 100)
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _prepare(
    x, out, largest, unit, which, tile, rows, row_stride, stride, D,
    SCALED: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    row = tile * ROWS + tl.arange(0, ROWS)
    scale = 1.0
    if SCALED:
        scale = _scale(largest, which)
    if tile == 0:
        tl.store(unit + which, 1.0 / scale)
    value = _read(x, row, rows, row_stride, stride, D, DP) * scale
    at = row.to(tl.int64)[:, None] * DP + tl.arange(0, DP)[None, :]
    tl.store(out + at, value.to(out.dtype.element_ty))


@triton.jit
def _prepare_kernel(
    hidden, weight, largest, h, w, unit, h_n, h_d, w_v, w_d, N, V, D, tiles,
    SCALED: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """Scaled, padded copies of hidden (``tiles`` of ROWS rows) and weight; 1 / scale: ``unit``."""
    tile = tl.program_id(0)
    if tile < tiles:
        _prepare(hidden, h, largest, unit, 0, tile, N, h_n, h_d, D, SCALED, ROWS, DP)
    else:
        _prepare(weight, w, largest, unit, 1, tile - tiles, V, w_v, w_d, D, SCALED, ROWS, DP)


@triton.jit
def _tile(x, row, chunk, ROWS: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr):
    """(ROWS, C) of a padded copy."""
    rows = (row + tl.arange(0, ROWS)).to(tl.int64)
    return tl.load(x + rows[:, None] * (C * CHUNKS) + chunk * C + tl.arange(0, C)[None, :])


@triton.jit
def _forward_kernel(
    h, w, unit, largest, total, best, out, N, V, per_split,
    M: tl.constexpr, T: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    EVEN: tl.constexpr, GRADIENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One split of the vocabulary for M rows and C columns of ``out``.

    Of each (split, row): the largest logit, the sum of the exponentials relative to it and, with
    GRADIENT, of exponentials times rows of weight; without, the first token of the largest logit.
    """
    m0 = tl.program_id(0) * M
    split = tl.program_id(1)
    chunk = tl.program_id(2)
    base_2 = tl.load(unit) * tl.load(unit + 1) * LOG2_E
    highest = tl.full((M,), -float("inf"), tl.float32)
    summed = tl.zeros((M,), tl.float32)
    winner = tl.zeros((M,), tl.int32)
    mixture = tl.zeros((M, C), tl.float32)
    if CHUNKS == 1:
        h_tile = _tile(h, m0, 0, M, C, CHUNKS)
    first = split * per_split
    for i in range(first, tl.minimum(first + per_split, tl.cdiv(V, T))):
        t0 = i * T
        token = t0 + tl.arange(0, T)
        if CHUNKS == 1:
            w_tile = _tile(w, t0, 0, T, C, CHUNKS)
            x = tl.dot(h_tile, tl.trans(w_tile), input_precision=PRECISION)  # (M, T)
        else:
            x = tl.zeros((M, T), tl.float32)
            for c in range(0, CHUNKS):
                part = tl.trans(_tile(w, t0, c, T, C, CHUNKS))
                x = tl.dot(_tile(h, m0, c, M, C, CHUNKS), part, x, input_precision=PRECISION)
            w_tile = _tile(w, t0, chunk, T, C, CHUNKS)
        if not EVEN:
            x = tl.where((token < V)[None, :], x, -float("inf"))
        here = tl.max(x, 1)
        new = tl.maximum(highest, here)
        p = tl.exp2(x * base_2 - (new * base_2)[:, None])
        shrink = tl.exp2((highest - new) * base_2)
        summed = summed * shrink + tl.sum(p, 1)
        if GRADIENT:
            mixture *= shrink[:, None]
            mixture = tl.dot(p.to(w_tile.dtype), w_tile, mixture, input_precision=PRECISION)
        else:
            leading = tl.min(tl.where(x == here[:, None], token[None, :], V), 1)
            winner = tl.where(here > highest, leading, winner)
        highest = new
    m = m0 + tl.arange(0, M)
    at = (split * N + m).to(tl.int64)
    if chunk == 0:
        tl.store(largest + at, highest, mask=m < N)
        tl.store(total + at, summed, mask=m < N)
    if not GRADIENT:
        tl.store(best + at, winner, mask=m < N)
    else:
        column = chunk * C + tl.arange(0, C)
        tl.store(out + at[:, None] * (C * CHUNKS) + column[None, :], mixture, mask=(m < N)[:, None])


@triton.jit
def _combine_kernel(
    h, w, unit, targets, t_n, largest, total, best, out,
    losses, correct, lse, answers, slope, sums, N, splits, D,
    M: tl.constexpr, DP: tl.constexpr, GRADIENT: tl.constexpr, IGNORED: tl.constexpr,
):  # fmt: skip
    """The results of M rows from those of the splits: losses and correct, or with GRADIENT

    the gradient of hidden before the mean, and the sum of the losses and their number. What the
    other kernel reads reaches to the end of its tiles: the targets, and the log-sum-exp in base 2,
    infinite where nothing is asked, so that those rows have no probabilities.
    """
    m = tl.program_id(0) * M + tl.arange(0, M)
    inside = m < N
    target = tl.load(targets + m.to(tl.int64) * t_n, mask=inside, other=IGNORED)
    asked = target != IGNORED
    d = tl.arange(0, DP)
    unit_w = tl.load(unit + 1)
    scale = tl.load(unit) * unit_w
    question = tl.load(h + m.to(tl.int64)[:, None] * DP + d[None, :]).to(tl.float32)
    answer = tl.load(w + target[:, None] * DP + d[None, :], mask=asked[:, None], other=0.0)
    answer = answer.to(tl.float32)
    x = tl.sum(question * answer, 1)
    row = tl.minimum(m, N - 1)
    highest = tl.load(largest + row)
    # Unrolled, so that the loads of several splits are under way at once.
    for split in tl.range(1, splits, loop_unroll_factor=4):
        highest = tl.maximum(highest, tl.load(largest + split * N + row))
    summed = tl.zeros((M,), tl.float32)
    winner = tl.full((M,), 2147483647, tl.int32)
    mixture = tl.zeros((M, DP), tl.float32)
    for split in tl.range(0, splits, loop_unroll_factor=4):
        at = split * N + row
        here = tl.load(largest + at)
        weight = tl.exp2((here - highest) * scale * LOG2_E)
        summed += weight * tl.load(total + at)
        if GRADIENT:
            mixture += weight[:, None] * tl.load(out + at.to(tl.int64)[:, None] * DP + d[None, :])
        else:
            leading = tl.where(here == highest, tl.load(best + at), 2147483647)
            winner = tl.minimum(winner, leading)
    log_total = tl.log2(summed)
    # Nobody is above the highest, but for the rounding of sums in another order.
    loss = tl.maximum(highest - x, 0.0) * scale + log_total * LN_2
    loss = tl.where(asked, loss, 0.0)
    if GRADIENT:
        tl.store(sums + tl.program_id(0), tl.sum(loss, 0))
        tl.store(sums + tl.num_programs(0) + tl.program_id(0), tl.sum(asked.to(tl.float32), 0))
        log_total += highest * scale * LOG2_E
        tl.store(lse + m, tl.where(asked, log_total, float("inf")))
        tl.store(answers + m, target.to(tl.int32))
        gradient = tl.where(asked[:, None], (mixture / summed[:, None] - answer) * unit_w, 0.0)
        at = m.to(tl.int64)[:, None] * D + d[None, :]
        tl.store(slope + at, gradient, mask=inside[:, None] & (d < D)[None, :])
    else:
        tl.store(losses + m, loss, mask=inside)
        tl.store(correct + m, asked & (winner == target), mask=inside)


@triton.jit
def _mean_kernel(sums, loss, share, parts, SIZE: tl.constexpr):
    """The mean loss, and the share 1 / (rows that ask something) of each of them in it."""
    losses = tl.zeros((SIZE,), tl.float32)
    counts = tl.zeros((SIZE,), tl.float32)
    for first in range(0, parts, SIZE):
        i = first + tl.arange(0, SIZE)
        losses += tl.load(sums + i, mask=i < parts, other=0.0)
        counts += tl.load(sums + parts + i, mask=i < parts, other=0.0)
    each = 1.0 / tl.maximum(tl.sum(counts, 0), 1.0)
    tl.store(loss, tl.sum(losses, 0) * each)
    tl.store(share, each)


@triton.jit
def _weight_kernel(
    h, w, unit, answers, lse, partial, N, V, per_split,
    M: tl.constexpr, T: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    RAISE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """sum_n (p_n - [target_n]) hidden_n of T tokens over one split of the rows: (splits, V, D)."""
    t0 = tl.program_id(0) * T
    split = tl.program_id(1)
    chunk = tl.program_id(2)
    token = t0 + tl.arange(0, T)
    base_2 = tl.load(unit) * tl.load(unit + 1) * LOG2_E
    one: tl.constexpr = 2.0**RAISE
    gradient = tl.zeros((T, C), tl.float32)
    if CHUNKS == 1:
        w_tile = _tile(w, t0, 0, T, C, CHUNKS)
    first = split * per_split
    for i in range(first, tl.minimum(first + per_split, tl.cdiv(N, M))):
        m0 = i * M
        if CHUNKS == 1:
            h_tile = _tile(h, m0, 0, M, C, CHUNKS)
            x = tl.dot(w_tile, tl.trans(h_tile), input_precision=PRECISION)  # (T, M)
        else:
            x = tl.zeros((T, M), tl.float32)
            for c in range(0, CHUNKS):
                part = tl.trans(_tile(h, m0, c, M, C, CHUNKS))
                x = tl.dot(_tile(w, t0, c, T, C, CHUNKS), part, x, input_precision=PRECISION)
            h_tile = _tile(h, m0, chunk, M, C, CHUNKS)
        m = m0 + tl.arange(0, M)
        p = tl.exp2(x * base_2 - (tl.load(lse + m) - RAISE)[None, :])
        p = tl.where(token[:, None] == tl.load(answers + m)[None, :], p - one, p)
        gradient = tl.dot(p.to(h_tile.dtype), h_tile, gradient, input_precision=PRECISION)
    column = chunk * C + tl.arange(0, C)
    at = (split * V + token).to(tl.int64)[:, None] * (C * CHUNKS) + column[None, :]
    tl.store(partial + at, gradient, mask=(token < V)[:, None])


@triton.jit
def _finish_kernel(
    slope, partial, unit, share, d_loss, d_hidden, d_weight, N, V, D, splits, tiles,
    RAISE: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """Both gradients: that of hidden (``tiles`` of ROWS rows), and of weight from its parts."""
    tile = tl.program_id(0)
    factor = tl.load(share) * tl.load(d_loss).to(tl.float32)
    d = tl.arange(0, DP)
    if tile < tiles:
        row = tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)
        inside = (row < N)[:, None] & (d < D)[None, :]
        at = row[:, None] * D + d[None, :]
        value = tl.load(slope + at, mask=inside, other=0.0) * factor
        tl.store(d_hidden + at, value.to(d_hidden.dtype.element_ty), mask=inside)
    else:
        row = (tile - tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        inside = (row < V)[:, None] & (d < D)[None, :]
        value = tl.zeros((ROWS, DP), tl.float32)
        for split in range(0, splits):
            at = (split * V + row)[:, None] * DP + d[None, :]
            value += tl.load(partial + at, mask=inside, other=0.0)
        value *= factor * tl.load(unit) * (1.0 / 2.0**RAISE)
        at = row[:, None] * D + d[None, :]
        tl.store(d_weight + at, value.to(d_weight.dtype.element_ty), mask=inside)


Results: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]

WIDTH_LIMIT = 1024
PADDING = 128
"""Rows of the padded copies come in multiples of this: no tile is larger."""


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on a hidden like ``tensor``; None where they can."""
    if tensor.shape[-1] > WIDTH_LIMIT:
        return f"its width is at most {WIDTH_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def labelled_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_cross_entropy`."""
    loss, *_ = _mean_loss(hidden, weight, targets, _precision(hidden, weight))
    return loss


def labelled_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_losses`."""
    return _row_losses(hidden, weight, targets, _precision(hidden, weight))


def _precision(hidden: Tensor, weight: Tensor) -> str:
    """What the products take: "bfloat16", "float16", "tf32" or "float32"."""
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    else:
        dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return "tf32" if dtype == torch.float32 and _tf32() else str(dtype).removeprefix("torch.")


@torch.compiler.assume_constant_result  # the compiler cannot trace it, but guards what it reads
def _tf32() -> bool:
    return torch.get_float32_matmul_precision() != "highest"


class _Plan(NamedTuple):
    """Tile sizes of one pass, and how many of its programs run at once on a multiprocessor."""

    held: int
    streamed: int
    num_warps: int
    num_stages: int
    resident: int


def _plan(precision: str, C: int, CHUNKS: int, weight_pass: bool) -> _Plan:
    """The quickest of those measured on an H200, at 1024 … 16384 rows of a vocabulary of 8192."""
    if precision == "float32":
        return _Plan(64, 32 if C == 128 else 64, 8, 2, 1)
    if CHUNKS > 1:
        return _Plan(64, 64, 8, 2, 1)
    if C <= 64:
        return _Plan(64, 128, 4, 3, 3 if weight_pass else 2)
    return _Plan(64, 128, 4, 2, 2 if C == 128 else 1)


def _copy_dtype(precision: str) -> torch.dtype:
    """Of the copies that the products take. Triton's interpreter has no bfloat16."""
    if precision == "bfloat16" and not interpreted():
        return torch.bfloat16
    return torch.float16 if precision in ("float16", "tf32") else torch.float32


def _columns(D: int, precision: str) -> tuple[int, int]:
    """(C, CHUNKS): the width is padded to C * CHUNKS, a power of two."""
    padded = max(16, triton.next_power_of_2(D))
    limit = 256
    if precision == "float32":
        limit = 128 if padded <= 128 else 64
    C = min(padded, limit)
    return C, padded // C


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 132
    return torch.cuda.get_device_properties(device).multi_processor_count


def _splits(tiles: int, steps: int, slots: int) -> int:
    """In how many parts to split the ``steps`` of each of ``tiles`` programs for ``slots`` at once.

    The fewest that come within a tenth of the shortest time, a program costing one step more.
    """
    parts = range(1, min(steps, slots) + 1)
    times = [triton.cdiv(tiles * s, slots) * (triton.cdiv(steps, s) + 1) for s in parts]
    return next(s for s, time in zip(parts, times, strict=True) if time <= 1.1 * min(times))


def _padded(rows: int) -> int:
    return triton.cdiv(rows, PADDING) * PADDING


def _copies(hidden: Tensor, weight: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """What the products read: copies of hidden and weight, and what their elements stand for."""
    h, w, unit = _copies_shapes(hidden, weight, precision)
    (N, D), V, DP = hidden.shape, weight.shape[0], h.shape[1]
    strides = (*hidden.stride(), *weight.stride())
    constants = {"ROWS": min(64, 4096 // DP), "DP": DP, "num_warps": 4}
    largest = None
    if precision == "tf32":
        largest = hidden.new_empty(2 * PARTS.value, dtype=torch.float32)
        _largest_kernel[(2 * PARTS.value,)](hidden, weight, largest, *strides, N, V, D, **constants)
    tiles = len(h) // constants["ROWS"]
    _prepare_kernel[(tiles + len(w) // constants["ROWS"],)](
        hidden, weight, largest, h, w, unit, *strides, N, V, D, tiles,
        SCALED=largest is not None, **constants,
    )  # fmt: skip
    return h, w, unit


def _copies_shapes(hidden: Tensor, weight: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    C, CHUNKS = _columns(hidden.shape[1], precision)
    dtype = _copy_dtype(precision)
    h, w = (hidden.new_empty(_padded(len(x)), C * CHUNKS, dtype=dtype) for x in (hidden, weight))
    return h, w, hidden.new_empty(2, dtype=torch.float32)


class _Parts(NamedTuple):
    """What `_forward_kernel` finds for each (split, row)."""

    largest: Tensor
    total: Tensor
    best: Tensor | None
    mixture: Tensor | None


def _attend(
    h: Tensor, w: Tensor, unit: Tensor, N: int, V: int, D: int, precision: str, gradient: bool
) -> _Parts:
    C, CHUNKS = _columns(D, precision)
    plan = _plan(precision, C, CHUNKS, False)
    tiles, steps = triton.cdiv(N, plan.held), triton.cdiv(V, plan.streamed)
    chunks = CHUNKS if gradient else 1
    slots = _multiprocessors(h.device) * plan.resident
    per_split = triton.cdiv(steps, _splits(tiles * chunks, steps, slots))
    splits = triton.cdiv(steps, per_split)
    largest, total = unit.new_empty(2, splits, N)
    best = mixture = None
    if gradient:
        mixture = unit.new_empty(splits, N, C * CHUNKS)
    else:
        best = unit.new_empty(splits, N, dtype=torch.int32)
    _forward_kernel[tiles, splits, chunks](
        h, w, unit, largest, total, best, mixture, N, V, per_split,
        M=plan.held, T=plan.streamed, C=C, CHUNKS=CHUNKS, EVEN=V % plan.streamed == 0,
        GRADIENT=gradient,
        PRECISION=_dot_precision(precision), num_warps=plan.num_warps, num_stages=plan.num_stages,
    )  # fmt: skip
    return _Parts(largest, total, best, mixture)


def _forward(hidden: Tensor, weight: Tensor, targets: Tensor, precision: str) -> Results:
    outputs = loss, lse, answers, slope, share, *_ = _mean_loss_shapes(
        hidden, weight, targets, precision
    )
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        loss.zero_()
        return outputs
    h, w, unit = _copies(hidden, weight, precision)
    parts = _attend(h, w, unit, N, V, D, precision, True)
    rows = _rows(h)
    programs = len(h) // rows
    sums = unit.new_empty(2, programs)
    _combine_kernel[(programs,)](
        h, w, unit, targets, targets.stride(0), *parts,
        None, None, lse, answers, slope, sums, N, len(parts.largest), D,
        M=rows, DP=h.shape[1], GRADIENT=True, IGNORED=IGNORE, num_warps=4,
    )  # fmt: skip
    _mean_kernel[(1,)](sums, loss, share, programs, SIZE=1024, num_warps=8)
    return loss, lse, answers, slope, share, h, w, unit


def _rows(h: Tensor) -> int:
    """Rows of a tile of one of the kernels that only move data."""
    return max(1, 1024 // h.shape[1])


def _dot_precision(precision: str) -> str:
    return "tf32x3" if precision == "float32" else "tf32"


def _mean_loss_shapes(hidden: Tensor, weight: Tensor, targets: Tensor, precision: str) -> Results:
    """The loss (), and what the backward pass needs:

    the log-sum-exp (N',) and the targets (N',), the gradient of hidden (N, D) before the mean, the
    share of a row in the mean (1,), the copies of hidden (N', D') and of weight (V', D'), and what
    their elements stand for (2,).
    """
    h, w, unit = _copies_shapes(hidden, weight, precision)
    lse, answers = unit.new_empty(len(h)), unit.new_empty(len(h), dtype=torch.int32)
    slope = unit.new_empty(hidden.shape)
    return unit.new_empty(()), lse, answers, slope, unit.new_empty(1), h, w, unit


@torch.library.custom_op("recall_bench::labelled_cross_entropy_backward", mutates_args=())
def _mean_loss_backward(
    hidden: Tensor, weight: Tensor, lse: Tensor, answers: Tensor, slope: Tensor, share: Tensor,
    h: Tensor, w: Tensor, unit: Tensor, precision: str, d_loss: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    d_hidden, d_weight = (x.new_empty(x.shape) for x in (hidden, weight))
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        return d_hidden, d_weight.zero_()
    C, CHUNKS = _columns(D, precision)
    plan = _plan(precision, C, CHUNKS, True)
    tiles, steps = triton.cdiv(V, plan.held), triton.cdiv(N, plan.streamed)
    slots = _multiprocessors(h.device) * plan.resident
    per_split = triton.cdiv(steps, _splits(tiles * CHUNKS, steps, slots))
    splits = triton.cdiv(steps, per_split)
    partial = unit.new_empty(splits, V, C * CHUNKS)
    lift = LIFT.value if h.dtype == torch.float16 else 0
    _weight_kernel[tiles, splits, CHUNKS](
        h, w, unit, answers, lse, partial, N, V, per_split,
        M=plan.streamed, T=plan.held, C=C, CHUNKS=CHUNKS, RAISE=lift,
        PRECISION=_dot_precision(precision), num_warps=plan.num_warps, num_stages=plan.num_stages,
    )  # fmt: skip
    rows = _rows(h)
    tiles = triton.cdiv(N, rows)
    _finish_kernel[(tiles + triton.cdiv(V, rows),)](
        slope, partial, unit, share, d_loss, d_hidden, d_weight, N, V, D, splits, tiles,
        RAISE=lift, ROWS=rows, DP=C * CHUNKS, num_warps=4,
    )  # fmt: skip
    return d_hidden, d_weight


@_mean_loss_backward.register_fake
def _mean_loss_backward_shapes(
    hidden: Tensor, weight: Tensor, *others: Any
) -> tuple[Tensor, Tensor]:
    return hidden.new_empty(hidden.shape), weight.new_empty(weight.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Results) -> None:
    hidden, weight, _, ctx.precision = inputs
    ctx.save_for_backward(hidden, weight, *output[1:])


def _differentiate(ctx: Any, d_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    return *_mean_loss_backward(*ctx.saved_tensors, ctx.precision, d_loss), None, None


_mean_loss_op = torch.library.custom_op(
    "recall_bench::labelled_cross_entropy", _forward, mutates_args=()
)
_mean_loss_op.register_fake(_mean_loss_shapes)
_mean_loss_op.register_autograd(_differentiate, setup_context=_save)
_mean_loss = differentiable(_mean_loss_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::labelled_losses", mutates_args=())
@on_own_device
def _row_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    losses, correct = _row_losses_shapes(hidden, weight, targets, precision)
    (N, D), V = hidden.shape, weight.shape[0]
    if N == 0:
        return losses, correct
    h, w, unit = _copies(hidden, weight, precision)
    parts = _attend(h, w, unit, N, V, D, precision, False)
    rows = _rows(h)
    _combine_kernel[(triton.cdiv(N, rows),)](
        h, w, unit, targets, targets.stride(0), *parts,
        losses, correct, None, None, None, None, N, len(parts.largest), D,
        M=rows, DP=h.shape[1], GRADIENT=False, IGNORED=IGNORE, num_warps=4,
    )  # fmt: skip
    return losses, correct


@_row_losses.register_fake
def _row_losses_shapes(
    hidden: Tensor, weight: Tensor, targets: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    N = len(hidden)
    return hidden.new_empty(N, dtype=torch.float32), hidden.new_empty(N, dtype=torch.bool)
