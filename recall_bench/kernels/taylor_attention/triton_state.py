"""States at the start of each span of a sequence: sums within spans, then a scan over spans.

A raw state is S (R, V) and the normaliser (R,), concatenated: R (V + 1) numbers.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import dot, load_tile
from recall_bench.kernels.taylor_attention.triton_features import constants, load_picks


@triton.jit(do_not_specialize=["T", "H", "span"])
def sum_kernel(
    x, v, y, inverse, delta, picks, sums,
    x_b, x_t, x_h, v_b, v_t, v_h, T, H, span,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    VS: tl.constexpr, G: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """Each span's sum of f(k) v^T and f(k), or of f(q) (dy / den)^T and f(q) delta / den.

    A program takes G blocks of 64 rows and VS columns of v. Backwards, x is q, v is dy, inverse is
    1 / den, and delta = dy . y is written for the kernels that follow.
    """
    spans = tl.cdiv(T, span)
    h = tl.program_id(0) % H
    part = tl.program_id(0) // H
    group = part % (R // (64 * G))
    part = part // (R // (64 * G))
    vb = part % (V // VS)
    part = part // (V // VS)
    b = (part // spans).to(tl.int64)
    bh = b * H + h
    start = part % spans * span
    x += b * x_b + h * x_h
    v += b * v_b + h * v_h
    blocks = ()
    z_blocks = ()
    firsts = ()
    seconds = ()
    for g in tl.static_range(G):
        first, second = load_picks(picks, group * G + g, D, R, 64)
        firsts = firsts + (first,)
        seconds = seconds + (second,)
        blocks = blocks + (tl.zeros((64, VS), tl.float32),)
        z_blocks = z_blocks + (tl.zeros((64,), tl.float32),)
    for t0 in range(start, tl.minimum(start + span, T), C):
        t = t0 + tl.arange(0, C)
        x_t_tile = tl.trans(load_tile(x, t0, T, x_t, d, C, D).to(DTYPE))
        column = vb * VS + tl.arange(0, VS)
        v_tile = tl.load(
            v + (t.to(tl.int64)[:, None] * v_t + column[None, :]),
            mask=(t < T)[:, None] & (column < dv)[None, :],
            other=0.0,
        ).to(DTYPE)
        if BACKWARD:
            weight = tl.load(inverse + bh * tl.cdiv(T, C) * C + t)
            y_tile = load_tile(y + (b * T * H + h) * dv, t0, T, H * dv, dv, C, V)
            dy_tile = load_tile(v, t0, T, v_t, dv, C, V)
            z_weight = tl.sum(y_tile.to(tl.float32) * dy_tile.to(tl.float32), 1)
            if (group == 0) & (vb == 0):
                tl.store(delta + bh * tl.cdiv(T, C) * C + t, z_weight)
        else:
            z_weight = (t < T).to(tl.float32)
        new = ()
        new_z = ()
        for g in tl.static_range(G):
            left = dot(firsts[g], x_t_tile, DTYPE, PRECISION)
            right = dot(seconds[g], x_t_tile, DTYPE, PRECISION)
            if R > 64 * G or g == G - 1:  # the block may have rows that lack a column of x
                one, other = constants(group * G + g, D, 64)
                left += one[:, None]
                right += other[:, None]
            f = left * right  # (64, C)
            if BACKWARD:
                f *= weight[None, :]
            new_z = new_z + (z_blocks[g] + tl.sum(f * z_weight[None, :], 1),)
            new = new + (blocks[g] + dot(f, v_tile, DTYPE, PRECISION),)
        blocks = new
        z_blocks = new_z
    sums += (bh * spans + part % spans) * (R * (V + 1))
    for g in tl.static_range(G):
        row = (group * G + g) * 64 + tl.arange(0, 64)
        column = vb * VS + tl.arange(0, VS)
        tl.store(sums + (row[:, None] * V + column[None, :]), blocks[g])
        if vb == 0:
            tl.store(sums + R * V + row, z_blocks[g])


@triton.jit(do_not_specialize=["spans"])
def scan_kernel(
    sums, initial, weights, S, z, last, spans,
    V: tl.constexpr, R: tl.constexpr,
    REVERSE: tl.constexpr, INITIAL: tl.constexpr, LAST: tl.constexpr,
    K: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """The sum before each span (after it with REVERSE), times w^2, and the raw total.

    sums (BH, spans, R (V + 1)) and initial (BH, R (V + 1)) -> S (BH, spans, R, V),
    z (BH, spans, R), last (BH, R (V + 1)).
    """
    size: tl.constexpr = R * (V + 1)
    bh = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * N + tl.arange(0, N)
    inside = column < size
    in_S = column < R * V
    weight = tl.load(weights + tl.where(in_S, column // V, column - R * V), mask=inside, other=0.0)
    carry = tl.zeros((N,), tl.float32)
    if INITIAL:
        carry += tl.load(initial + bh * size + column, mask=inside, other=0.0)
    for i in range(0, spans, K):
        span = i + tl.arange(0, K)
        exists = (span < spans)[:, None]
        if REVERSE:
            span = spans - 1 - span
        slot = (bh * spans + span)[:, None]  # (K, 1)
        own = tl.load(
            sums + (slot * size + column[None, :]), mask=exists & inside[None, :], other=0.0
        )
        before = (tl.cumsum(own, 0) - own + carry[None, :]) * weight[None, :]
        pointers = S + (slot * (R * V) + column[None, :])
        tl.store(pointers, before.to(S.dtype.element_ty), mask=exists & in_S[None, :])
        pointers = z + (slot * R + (column - R * V)[None, :])
        tl.store(pointers, before, mask=exists & (inside & (column >= R * V))[None, :])
        carry += tl.sum(own, 0)
    if LAST:
        tl.store(last + bh * size + column, carry, mask=inside)
