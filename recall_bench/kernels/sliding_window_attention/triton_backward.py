"""Gradients of sliding-window attention: one program per tile of queries or keys, in one launch.

The probabilities are rebuilt from the log-sum-exp (Dao et al., arXiv 2205.14135, algorithm 4).
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, dot, load_tile, store_tile


@triton.jit(do_not_specialize=["T", "H", "window"])
def backward_kernel(
    q, k, v, y, lse, dy, dq, dk, dvalue,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq, dk, dvalue (B, T, heads, dim): one program for each head of a group, one for its keys."""
    G = H // group
    role = tl.program_id(0) % (group + 1)
    g = tl.program_id(0) // (group + 1) % G
    tile = tl.program_id(0) // (group + 1) // G
    t0 = tile % tl.cdiv(T, C) * C
    b = (tile // tl.cdiv(T, C)).to(tl.int64)
    q += b * q_b
    k += b * k_b + g * k_h
    v += b * v_b + g * v_h
    if role == group:
        dk_tile, dv_tile = _keys(
            q, k, v, y + b * T * H * dv, lse + b * H * T, dy + b * T * H * dv,
            q_t, q_h, k_t, v_t, g, t0, T, H, group, window,
            d, dv, D, V, C, DTYPE, PRECISION,
        )  # fmt: skip
        store_tile(dk + (b * T * G + g) * d, dk_tile, t0, T, G * d, d, C, D)
        store_tile(dvalue + (b * T * G + g) * dv, dv_tile, t0, T, G * dv, dv, C, V)
    else:
        h = g * group + role
        row = (b * T * H + h) * dv
        dq_tile = _queries(
            q + h * q_h, k, v, y + row, lse + (b * H + h) * T, dy + row,
            q_t, k_t, v_t, t0, T, H, window,
            d, dv, D, V, C, DTYPE, PRECISION,
        )  # fmt: skip
        store_tile(dq + (b * T * H + h) * d, dq_tile, t0, T, H * d, d, C, D)


@triton.jit
def _queries(
    q, k, v, y, lse, dy, q_t, k_t, v_t, m0, T, H, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq of the C queries from m0 on: (C, D)."""
    m = m0 + tl.arange(0, C)
    q_tile = load_tile(q, m0, T, q_t, d, C, D).to(DTYPE)
    dy_tile = load_tile(dy, m0, T, H * dv, dv, C, V)
    y_tile = load_tile(y, m0, T, H * dv, dv, C, V)
    minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
    dy_tile = dy_tile.to(DTYPE)
    log_total = tl.load(lse + m, mask=m < T, other=0.0)
    root = 1.0 / tl.sqrt(d * 1.0)
    dx = tl.zeros((C, D), tl.float32)
    first = tl.maximum(m0 - window + 1, 0) // 16 * 16
    for n0 in range(first, tl.minimum(m0 + C, T), C):
        k_tile = load_tile(k, n0, T, k_t, d, C, D).to(DTYPE)
        v_tile = load_tile(v, n0, T, v_t, dv, C, V).to(DTYPE)
        s = dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * (root * LOG2_E)
        age = m[:, None] - (n0 + tl.arange(0, C))[None, :]
        p = tl.where((age >= 0) & (age < window), tl.exp2(s - log_total[:, None]), 0.0)
        dp = dot(dy_tile, tl.trans(v_tile), DTYPE, PRECISION)
        dx += dot(p * (dp - minus[:, None]), k_tile, DTYPE, PRECISION)
    return dx * root


@triton.jit
def _keys(
    q, k, v, y, lse, dy, q_t, q_h, k_t, v_t, g, n0, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    C: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv of the C keys from n0 on, summed over the group's heads: (C, D), (C, V)."""
    n = n0 + tl.arange(0, C)
    k_tile = load_tile(k, n0, T, k_t, d, C, D).to(DTYPE)
    v_tile = load_tile(v, n0, T, v_t, dv, C, V).to(DTYPE)
    root = 1.0 / tl.sqrt(d * 1.0)
    dx = tl.zeros((C, D), tl.float32)
    dvalue = tl.zeros((C, V), tl.float32)
    steps = tl.cdiv(tl.minimum(n0 + C - 1 + window, T) - n0, C)
    for i in range(0, group * steps):
        h = g * group + i // steps
        m0 = n0 + i % steps * C
        m = m0 + tl.arange(0, C)
        q_tile = load_tile(q + h * q_h, m0, T, q_t, d, C, D).to(DTYPE)
        dy_tile = load_tile(dy + h * dv, m0, T, H * dv, dv, C, V)
        y_tile = load_tile(y + h * dv, m0, T, H * dv, dv, C, V)
        minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
        dy_tile = dy_tile.to(DTYPE)
        log_total = tl.load(lse + h * T + m, mask=m < T, other=0.0)
        s_t = dot(k_tile, tl.trans(q_tile), DTYPE, PRECISION) * (root * LOG2_E)
        age = m[None, :] - n[:, None]
        seen = (age >= 0) & (age < window) & (m < T)[None, :]
        p_t = tl.where(seen, tl.exp2(s_t - log_total[None, :]), 0.0)  # (keys, queries)
        dvalue += dot(p_t, dy_tile, DTYPE, PRECISION)
        dp_t = dot(v_tile, tl.trans(dy_tile), DTYPE, PRECISION)
        dx += dot(p_t * (dp_t - minus[None, :]), q_tile, DTYPE, PRECISION)
    return dx * root, dvalue
