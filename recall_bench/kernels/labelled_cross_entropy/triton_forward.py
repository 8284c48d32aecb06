"""The losses of a linear read-out, and the sums that the gradient of hidden needs."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LN_2, LOG2_E

PARTS: tl.constexpr = tl.constexpr(128)
"""Programs that look for the largest element of a tensor."""


@triton.jit
def _read(x, row, rows, row_stride, stride, D, DP: tl.constexpr):
    """Rows ``row`` of x (rows, D), zeros beyond both edges: (…, DP) float32."""
    d = tl.arange(0, DP)
    offset = row.to(tl.int64)[:, None] * row_stride + d.to(tl.int64)[None, :] * stride
    return tl.load(x + offset, mask=(row < rows)[:, None] & (d < D)[None, :], other=0.0).to(
        tl.float32
    )


@triton.jit
def _largest(x, part, rows, row_stride, stride, D, ROWS: tl.constexpr, DP: tl.constexpr):
    top = tl.zeros((ROWS,), tl.float32)
    for first in range(part * ROWS, rows, PARTS * ROWS):
        tile = _read(x, first + tl.arange(0, ROWS), rows, row_stride, stride, D, DP)
        top = tl.maximum(top, tl.max(tl.abs(tile), 1))
    return tl.max(top, 0)


@triton.jit(do_not_specialize=["N", "V"])
def largest_kernel(
    hidden, weight, largest, h_n, h_d, w_v, w_d, N, V, D, ROWS: tl.constexpr, DP: tl.constexpr
):
    """The largest |x| in every PARTS-th tile of ROWS rows of both tensors: (2, PARTS)."""
    part = tl.program_id(0)
    if part < PARTS:
        top = _largest(hidden, part, N, h_n, h_d, D, ROWS, DP)
    else:
        top = _largest(weight, part - PARTS, V, w_v, w_d, D, ROWS, DP)
    tl.store(largest + part, top)


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
    offset = row.to(tl.int64)[:, None] * DP + tl.arange(0, DP)[None, :]
    tl.store(out + offset, value.to(out.dtype.element_ty))


@triton.jit(do_not_specialize=["N", "V", "tiles"])
def prepare_kernel(
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
def load_copy(x, row, chunk, ROWS: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr):
    """(ROWS, C) of a padded copy."""
    rows = (row + tl.arange(0, ROWS)).to(tl.int64)
    return tl.load(x + rows[:, None] * (C * CHUNKS) + chunk * C + tl.arange(0, C)[None, :])


@triton.jit(do_not_specialize=["N", "V", "per_split"])
def forward_kernel(
    h, w, unit, largest, total, best, out, N, V, per_split,
    M: tl.constexpr, T: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    EVEN: tl.constexpr, GRADIENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One split of the vocabulary for M rows and C columns of ``out``.

    For each (split, row) it writes the largest logit and the sum of the exponentials relative to
    it; with GRADIENT also the sum of exponentials times rows of weight, and without it the first
    token with the largest logit.
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
        h_tile = load_copy(h, m0, 0, M, C, CHUNKS)
    first = split * per_split
    for i in range(first, tl.minimum(first + per_split, tl.cdiv(V, T))):
        t0 = i * T
        token = t0 + tl.arange(0, T)
        if CHUNKS == 1:
            w_tile = load_copy(w, t0, 0, T, C, CHUNKS)
            x = tl.dot(h_tile, tl.trans(w_tile), input_precision=PRECISION)  # (M, T)
        else:
            x = tl.zeros((M, T), tl.float32)
            for c in range(0, CHUNKS):
                part = tl.trans(load_copy(w, t0, c, T, C, CHUNKS))
                x = tl.dot(load_copy(h, m0, c, M, C, CHUNKS), part, x, input_precision=PRECISION)
            w_tile = load_copy(w, t0, chunk, T, C, CHUNKS)
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
    offset = (split * N + m).to(tl.int64)
    if chunk == 0:
        tl.store(largest + offset, highest, mask=m < N)
        tl.store(total + offset, summed, mask=m < N)
    if not GRADIENT:
        tl.store(best + offset, winner, mask=m < N)
    else:
        column = chunk * C + tl.arange(0, C)
        tl.store(
            out + offset[:, None] * (C * CHUNKS) + column[None, :], mixture, mask=(m < N)[:, None]
        )


@triton.jit(do_not_specialize=["N", "splits"])
def combine_kernel(
    h, w, unit, targets, t_n, largest, total, best, out,
    losses, correct, lse, answers, slope, sums, N, splits, D,
    M: tl.constexpr, DP: tl.constexpr, GRADIENT: tl.constexpr, IGNORED: tl.constexpr,
):  # fmt: skip
    """Combines the splits' results for M rows: losses and correct.

    With GRADIENT it writes the gradient of hidden before the mean, and the sum and the number of
    the losses. The targets and the log-sum-exp in base 2 fill the whole tiles of the kernel that
    reads them next; the log-sum-exp of an unlabelled row is infinite, so that its probabilities
    are 0.
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
    # Unrolled, so that several splits are loaded at the same time.
    for split in tl.range(1, splits, loop_unroll_factor=4):
        highest = tl.maximum(highest, tl.load(largest + split * N + row))
    summed = tl.zeros((M,), tl.float32)
    winner = tl.full((M,), 2147483647, tl.int32)
    mixture = tl.zeros((M, DP), tl.float32)
    for split in tl.range(0, splits, loop_unroll_factor=4):
        offset = split * N + row
        here = tl.load(largest + offset)
        weight = tl.exp2((here - highest) * scale * LOG2_E)
        summed += weight * tl.load(total + offset)
        if GRADIENT:
            mixture += weight[:, None] * tl.load(
                out + offset.to(tl.int64)[:, None] * DP + d[None, :]
            )
        else:
            leading = tl.where(here == highest, tl.load(best + offset), 2147483647)
            winner = tl.minimum(winner, leading)
    log_total = tl.log2(summed)
    # No logit exceeds the highest, except by rounding in another order of summation.
    loss = tl.maximum(highest - x, 0.0) * scale + log_total * LN_2
    loss = tl.where(asked, loss, 0.0)
    if GRADIENT:
        tl.store(sums + tl.program_id(0), tl.sum(loss, 0))
        tl.store(sums + tl.num_programs(0) + tl.program_id(0), tl.sum(asked.to(tl.float32), 0))
        log_total += highest * scale * LOG2_E
        tl.store(lse + m, tl.where(asked, log_total, float("inf")))
        tl.store(answers + m, target.to(tl.int32))
        gradient = tl.where(asked[:, None], (mixture / summed[:, None] - answer) * unit_w, 0.0)
        offset = m.to(tl.int64)[:, None] * D + d[None, :]
        tl.store(slope + offset, gradient, mask=inside[:, None] & (d < D)[None, :])
    else:
        tl.store(losses + m, loss, mask=inside)
        tl.store(correct + m, asked & (winner == target), mask=inside)


@triton.jit(do_not_specialize=["parts"])
def mean_kernel(sums, loss, share, parts, SIZE: tl.constexpr):
    """The mean loss, and each labelled row's share in it, 1 / (number of labelled rows)."""
    losses = tl.zeros((SIZE,), tl.float32)
    counts = tl.zeros((SIZE,), tl.float32)
    for first in range(0, parts, SIZE):
        i = first + tl.arange(0, SIZE)
        losses += tl.load(sums + i, mask=i < parts, other=0.0)
        counts += tl.load(sums + parts + i, mask=i < parts, other=0.0)
    each = 1.0 / tl.maximum(tl.sum(counts, 0), 1.0)
    tl.store(loss, tl.sum(losses, 0) * each)
    tl.store(share, each)
