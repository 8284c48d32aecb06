"""Gradients of Taylor attention: one program per tile of queries or keys, in one launch.

With g = dy . v - dy . y for a query and a key, and e = 1 + s, the gradient of s is g e / den.
Queries of later spans reach keys through U = sum f(q) (dy / den)^T and u = sum f(q) delta / den.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import dot, load_tile, store_tile
from recall_bench.kernels.taylor_attention.triton_features import (
    factors,
    load_picks,
    through_factors,
)


@triton.jit(do_not_specialize=["T", "H", "span"])
def backward_kernel(
    q, k, v, S, z, picks, y, inverse, dy, delta, U, u, dq, dk, dvalue,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, dy_b, dy_t, dy_h, T, H, span,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    STATE: tl.constexpr, USED: tl.constexpr,
):  # fmt: skip
    """dq, dk (B, T, H, d) and dvalue (B, T, H, dv); even programs take keys, odd ones queries."""
    h = tl.program_id(0) // 2 % H
    tile = tl.program_id(0) // 2 // H
    t0 = tile % tl.cdiv(T, C) * C
    b = (tile // tl.cdiv(T, C)).to(tl.int64)
    bh = b * H + h
    q += b * q_b + h * q_h
    k += b * k_b + h * k_h
    v += b * v_b + h * v_h
    dy += b * dy_b + h * dy_h
    y += (b * T * H + h) * dv
    inverse += bh * tl.cdiv(T, C) * C
    delta += bh * tl.cdiv(T, C) * C
    start = t0 // span * span
    slot = bh * tl.cdiv(T, span) + t0 // span
    if tl.program_id(0) % 2 == 0:
        dk_tile, dv_tile = _keys(
            q, k, v, y, inverse, dy, delta, U + slot * (R * V), u + slot * R, picks,
            q_t, k_t, v_t, dy_t, t0, tl.minimum(start + span, T), T, H,
            d, dv, D, V, R, C, DTYPE, PRECISION, STATE, USED,
        )  # fmt: skip
        store_tile(dk + (b * T * H + h) * d, dk_tile, t0, T, H * d, d, C, D)
        store_tile(dvalue + (b * T * H + h) * dv, dv_tile, t0, T, H * dv, dv, C, V)
    else:
        dq_tile = _queries(
            q, k, v, y, inverse, dy, S + slot * (R * V), z + slot * R, picks,
            q_t, k_t, v_t, dy_t, t0, start, T, H,
            d, dv, D, V, R, C, DTYPE, PRECISION, STATE, USED,
        )  # fmt: skip
        store_tile(dq + (b * T * H + h) * d, dq_tile, t0, T, H * d, d, C, D)


@triton.jit
def _queries(
    q, k, v, y, inverse, dy, S, z, picks, q_t, k_t, v_t, dy_t, m0, start, T, H,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    STATE: tl.constexpr, USED: tl.constexpr,
):  # fmt: skip
    """dq of the C queries from m0 on: (C, D)."""
    c = tl.arange(0, C)
    scale = 1.0 / tl.sqrt(d * 1.0)
    q_tile = load_tile(q, m0, T, q_t, d, C, D).to(DTYPE)
    dy_tile = load_tile(dy, m0, T, dy_t, dv, C, V)
    y_tile = load_tile(y, m0, T, H * dv, dv, C, V)
    minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
    dy_tile = dy_tile.to(DTYPE)
    dx = tl.zeros((C, D), tl.float32)
    for n0 in range(start, m0, C):
        k_tile = load_tile(k, n0, T, k_t, d, C, D).to(DTYPE)
        v_tile = load_tile(v, n0, T, v_t, dv, C, V).to(DTYPE)
        e = 1.0 + dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale
        g = dot(dy_tile, tl.trans(v_tile), DTYPE, PRECISION) - minus[:, None]
        dx += dot(g * e, k_tile, DTYPE, PRECISION)
    k_tile = load_tile(k, m0, T, k_t, d, C, D).to(DTYPE)
    v_tile = load_tile(v, m0, T, v_t, dv, C, V).to(DTYPE)
    e = 1.0 + dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale
    g = dot(dy_tile, tl.trans(v_tile), DTYPE, PRECISION) - minus[:, None]
    ds = tl.where(c[:, None] >= c[None, :], g * e, 0.0)
    dx += dot(ds, k_tile, DTYPE, PRECISION)
    dx *= scale
    if STATE:
        for block in range(0, USED // 32):
            row = block * 32 + tl.arange(0, 32)
            S_block = tl.load(S + (row[:, None] * V + tl.arange(0, V)[None, :]))
            z_block = tl.load(z + row)
            first, second = load_picks(picks, block, D, R, 32)
            df = dot(dy_tile, tl.trans(S_block), DTYPE, PRECISION)
            df -= minus[:, None] * z_block[None, :]
            a, b = factors(q_tile, first, second, block, D, 32, DTYPE, PRECISION)
            dx += through_factors(df, a, b, first, second, DTYPE, PRECISION)
    return dx * tl.load(inverse + m0 + c)[:, None]


@triton.jit
def _keys(
    q, k, v, y, inverse, dy, delta, U, u, picks, q_t, k_t, v_t, dy_t, n0, end, T, H,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
    STATE: tl.constexpr, USED: tl.constexpr,
):  # fmt: skip
    """dk and dv of the C keys from n0 on: (C, D), (C, V)."""
    c = tl.arange(0, C)
    scale = 1.0 / tl.sqrt(d * 1.0)
    k_tile = load_tile(k, n0, T, k_t, d, C, D).to(DTYPE)
    v_tile = load_tile(v, n0, T, v_t, dv, C, V).to(DTYPE)
    dx = tl.zeros((C, D), tl.float32)
    dvalue = tl.zeros((C, V), tl.float32)
    for m0 in range(n0, end, C):
        m = m0 + c
        q_tile = load_tile(q, m0, T, q_t, d, C, D).to(DTYPE)
        dy_tile = load_tile(dy, m0, T, dy_t, dv, C, V)
        weight = tl.load(inverse + m)
        if STATE:
            minus = tl.load(delta + m)
        else:
            y_tile = load_tile(y, m0, T, H * dv, dv, C, V)
            minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
        dy_tile = dy_tile.to(DTYPE)
        e_t = 1.0 + dot(k_tile, tl.trans(q_tile), DTYPE, PRECISION) * scale  # (keys, queries)
        weight_t = tl.where(m[None, :] >= (n0 + c)[:, None], weight[None, :], 0.0)
        A_t = (0.5 + 0.5 * e_t * e_t) * weight_t
        dvalue += dot(A_t, dy_tile, DTYPE, PRECISION)
        g_t = dot(v_tile, tl.trans(dy_tile), DTYPE, PRECISION) - minus[None, :]
        dx += dot(g_t * e_t * weight_t, q_tile, DTYPE, PRECISION)
    dx *= scale
    if STATE:
        for block in range(0, USED // 32):
            row = block * 32 + tl.arange(0, 32)
            U_block = tl.load(U + (row[:, None] * V + tl.arange(0, V)[None, :]))
            u_block = tl.load(u + row)
            first, second = load_picks(picks, block, D, R, 32)
            a, b = factors(k_tile, first, second, block, D, 32, DTYPE, PRECISION)
            dvalue += dot(a * b, U_block, DTYPE, PRECISION)
            df = dot(v_tile, tl.trans(U_block), DTYPE, PRECISION) - u_block[None, :]
            dx += through_factors(df, a, b, first, second, DTYPE, PRECISION)
    return dx, dvalue
