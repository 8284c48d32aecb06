"""Outputs of Taylor attention: scores for keys of the same span, the state for older ones."""
# mypy: disable-error-code="no-untyped-def, assignment"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import dot, load_tile, store_tile
from recall_bench.kernels.taylor_attention.triton_features import factors, load_picks


@triton.jit(do_not_specialize=["T", "H", "span"])
def forward_kernel(
    q, k, v, S, z, picks, y, inverse,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, T, H, span,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    STATE: tl.constexpr, INITIAL: tl.constexpr, USED: tl.constexpr,
):  # fmt: skip
    """y (B, T, H, dv) of one tile of C queries, and 1 / the denominators, 0 beyond T.

    Numerators and denominators sum the same rounded weights, so that y is a mean of v.
    """
    h = tl.program_id(0) % H
    tile = tl.program_id(0) // H
    m0 = tile % tl.cdiv(T, C) * C
    n = (tile // tl.cdiv(T, C)).to(tl.int64)
    q += n * q_b + h * q_h
    k += n * k_b + h * k_h
    v += n * v_b + h * v_h
    start = m0 // span * span
    scale = 1.0 / tl.sqrt(d * 1.0)
    c = tl.arange(0, C)
    q_tile = load_tile(q, m0, T, q_t, d, C, D).to(DTYPE)
    numerator = tl.zeros((C, V), tl.float32)
    denominator = tl.zeros((C,), tl.float32)
    for n0 in range(start, m0, C):
        k_tile = load_tile(k, n0, T, k_t, d, C, D).to(DTYPE)
        v_tile = load_tile(v, n0, T, v_t, dv, C, V).to(DTYPE)
        e = 1.0 + dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale  # 1 + s, (C, C)
        A = (0.5 + 0.5 * e * e).to(DTYPE)
        numerator += dot(A, v_tile, DTYPE, PRECISION)
        denominator += tl.sum(A.to(tl.float32), 1)
    k_tile = load_tile(k, m0, T, k_t, d, C, D).to(DTYPE)
    v_tile = load_tile(v, m0, T, v_t, dv, C, V).to(DTYPE)
    e = 1.0 + dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale
    A = tl.where(c[:, None] >= c[None, :], 0.5 + 0.5 * e * e, 0.0).to(DTYPE)
    numerator += dot(A, v_tile, DTYPE, PRECISION)
    denominator += tl.sum(A.to(tl.float32), 1)
    if STATE:
        slot = (n * H + h) * tl.cdiv(T, span) + m0 // span
        blocks = USED // 32
        if not INITIAL:
            blocks = tl.where(start > 0, blocks, 0)
        for block in range(0, blocks):
            row = block * 32 + tl.arange(0, 32)
            S_block = tl.load(S + (slot * R + row)[:, None] * V + tl.arange(0, V)[None, :])
            first, second = load_picks(picks, block, D, R, 32)
            a, b = factors(q_tile, first, second, block, D, 32, DTYPE, PRECISION)
            f = a * b  # (C, 32)
            numerator += dot(f, S_block, DTYPE, PRECISION)
            denominator += tl.sum(f * tl.load(z + slot * R + row)[None, :], 1)
    weight = 1.0 / denominator
    store_tile(y + (n * T * H + h) * dv, numerator * weight[:, None], m0, T, H * dv, dv, C, V)
    weight = tl.where(m0 + c < T, weight, 0.0)
    tl.store(inverse + ((n * H + h) * tl.cdiv(T, C) * C + m0 + c), weight)
