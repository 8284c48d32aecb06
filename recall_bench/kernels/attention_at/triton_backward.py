"""Gradients of attention at a few positions: keys and values are read once, by one program.

The probabilities are rebuilt from the log-sum-exp (Dao et al., arXiv 2205.14135, algorithm 4).
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.attention_at.triton_tiles import place, reach, seen
from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, dot, load_tile, store_tile


@triton.jit(do_not_specialize=["Q", "T", "H", "window"])
def backward_kernel(
    q, kv, positions, y, lse, dy, dq, dkv,
    q_b, q_t, q_h, kv_b, kv_t, kv_part, kv_h, Q, T, H, window,
    d: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq (B, Q, H, d) of M queries, and their part of dkv (B, tiles of queries, T, 2, H, d)."""
    h, tile, b, m0 = place(Q, H, M)
    k = kv + b * kv_b + h * kv_h
    dk = dkv + tile * T * 2 * H * d + h * d
    row = (b * Q * H + h) * d
    position, _, end = reach(positions + b * Q, m0, Q, T, window, M)
    m = m0 + tl.arange(0, M)
    log_total = tl.load(lse + (b * H + h) * Q + m, mask=m < Q, other=0.0)
    q_tile = load_tile(q + b * q_b + h * q_h, m0, Q, q_t, d, M, D).to(DTYPE)
    dy_tile = load_tile(dy + row, m0, Q, H * d, d, M, D)
    y_tile = load_tile(y + row, m0, Q, H * d, d, M, D)
    minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
    dy_tile = dy_tile.to(DTYPE)
    root = 1.0 / tl.sqrt(d * 1.0)
    dx = tl.zeros((M, D), tl.float32)
    for n0 in range(0, T, N):
        n = n0 + tl.arange(0, N)
        k_tile = load_tile(k, n0, end, kv_t, d, N, D).to(DTYPE)
        v_tile = load_tile(k + kv_part, n0, end, kv_t, d, N, D).to(DTYPE)
        s = dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * (root * LOG2_E)
        p = tl.exp2(s - log_total[:, None])
        p = tl.where(seen(position[:, None], n[None, :], window), p, 0.0)
        dv_tile = dot(tl.trans(p), dy_tile, DTYPE, PRECISION)
        store_tile(dk + H * d, dv_tile, n0, T, 2 * H * d, d, N, D)
        dp = dot(dy_tile, tl.trans(v_tile), DTYPE, PRECISION)
        ds = p * (dp - minus[:, None])
        dk_tile = dot(tl.trans(ds), q_tile, DTYPE, PRECISION) * root
        store_tile(dk, dk_tile, n0, T, 2 * H * d, d, N, D)
        dx += dot(ds, k_tile, DTYPE, PRECISION)
    store_tile(dq + row, dx * root, m0, Q, H * d, d, M, D)
