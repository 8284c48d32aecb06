"""Outputs of sliding-window attention: online softmax over the key tiles in reach of queries."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from recall_bench.kernels.plumbing.triton_tiles import LOG2_E, dot, load_tile, store_tile


@triton.jit(do_not_specialize=["T", "H", "window"])
def forward_kernel(
    q, k, v, y, lse,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """y (B, T, H, dv) and the log2 of the sums of exponentials (B, H, T) of M queries."""
    h = tl.program_id(0) % H
    tile = tl.program_id(0) // H
    m0 = tile % tl.cdiv(T, M) * M
    b = (tile // tl.cdiv(T, M)).to(tl.int64)
    q += b * q_b + h * q_h
    k += b * k_b + h // group * k_h
    v += b * v_b + h // group * v_h
    q_tile = load_tile(q, m0, T, q_t, d, M, D).to(DTYPE)
    scale = LOG2_E / tl.sqrt(d * 1.0)  # exp2, not exp
    m = m0 + tl.arange(0, M)
    largest = tl.full((M,), -1e30, tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, V), tl.float32)
    first = tl.maximum(m0 - window + 1, 0) // 16 * 16
    for n0 in range(first, tl.minimum(m0 + M, T), N):
        k_tile = load_tile(k, n0, T, k_t, d, N, D).to(DTYPE)
        v_tile = load_tile(v, n0, T, v_t, dv, N, V).to(DTYPE)
        s = dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale  # (M, N), base 2
        age = m[:, None] - (n0 + tl.arange(0, N))[None, :]
        s = tl.where((age >= 0) & (age < window), s, -float("inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(p, 1)
        out = out * shrink[:, None] + dot(p, v_tile, DTYPE, PRECISION)
        largest = new
    total = tl.maximum(total, 1.0)  # changes only rows beyond T, which see no key
    store_tile(y + (b * T * H + h) * dv, out / total[:, None], m0, T, H * dv, dv, M, V)
    tl.store(lse + (b * H + h) * T + m, largest + tl.log2(total), mask=m < T)
