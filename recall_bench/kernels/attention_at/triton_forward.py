"""Outputs of attention at a few positions: online softmax over the keys in reach."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.attention_at.triton_tiles import place, reach, seen
from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, dot, load_tile, store_tile


@triton.jit(do_not_specialize=["Q", "T", "H", "window"])
def forward_kernel(
    q, kv, positions, y, lse,
    q_b, q_t, q_h, kv_b, kv_t, kv_part, kv_h, Q, T, H, window,
    d: tl.constexpr, D: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y (B, Q, H, d) and the log2 of the sums of exponentials (B, H, Q) of M queries."""
    h, _, b, m0 = place(Q, H, M)
    k = kv + b * kv_b + h * kv_h
    position, first, end = reach(positions + b * Q, m0, Q, T, window, M)
    q_tile = load_tile(q + b * q_b + h * q_h, m0, Q, q_t, d, M, D).to(DTYPE)
    scale = LOG2_E / tl.sqrt(d * 1.0)  # exp2, not exp
    largest = tl.full((M,), -1e30, tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, D), tl.float32)
    for n0 in range(first // 16 * 16, end, N):
        k_tile = load_tile(k, n0, end, kv_t, d, N, D).to(DTYPE)
        v_tile = load_tile(k + kv_part, n0, end, kv_t, d, N, D).to(DTYPE)
        s = dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale  # (M, N), base 2
        n = n0 + tl.arange(0, N)
        s = tl.where(seen(position[:, None], n[None, :], window), s, -float("inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(p, 1)
        out = out * shrink[:, None] + dot(p, v_tile, DTYPE, PRECISION)
        largest = new
    total = tl.maximum(total, 1.0)  # changes only rows beyond Q, which see no key
    store_tile(y + (b * Q * H + h) * d, out / total[:, None], m0, Q, H * d, d, M, D)
    m = m0 + tl.arange(0, M)
    tl.store(lse + (b * H + h) * Q + m, largest + tl.log2(total), mask=m < Q)
