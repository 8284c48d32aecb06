"""Linear attention with the second-order Taylor map in Triton: linear time, state on chip.

A sequence is cut into chunks of C tokens. Inside a chunk the closed form 1 + s + s^2/2 acts on
the chunk's scores; between chunks S = sum f(k) v^T and z = sum f(k) stay in registers, in blocks
of 64 feature rows (for d > 16, where they are too many, in memory). Where batch x heads cannot
fill the device, a sequence is also cut into splits: one pass sums each split's state, a scan
carries the sums on, a second pass finishes.

Features are never gathered: a row of f is the product of two columns of x (a roll apart), and
picking columns is a matrix product with zeros and ones, exact in every precision. Kernels use
f(x) without weights and put them on the state instead: with w the weights of `reference.py`,
phi = w f, so S = S_raw w, and phi(q) S = f(q) (w^2 S_raw), where w^2 is 1 for the constant,
1/sqrt(d) for linear rows, 1/(2d) for squares, 1/d for the other products.

Dimensions: B batch, T length, H heads, d feature_dim, D = d padded to 16 or 32, R = 64 NB rows
of the padded state, C chunk, V columns of v in one program.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.taylor_attention.reference import TaylorState, packed_size
from recall_bench.kernels.triton_support import (
    differentiable,
    dot_constants,
    needs_gradient,
    on_own_device,
    rows_contiguous,
    unavailable_for,
)


@triton.jit
def _rows(block, D: tl.constexpr):
    """Kind and column pair (i, j) of the feature rows in a block of 64.

    Rows are x_i x_{i-r} for r = 0..D/2-1, half a roll for r = D/2, then x_i, then 1, then unused.
    """
    row = block * 64 + tl.arange(0, 64)
    products: tl.constexpr = D * D // 2 + D // 2
    product = row < products
    linear = (row >= products) & (row < products + D)
    constant = row == products + D
    i = tl.where(product, row, row - products) % D
    j = (i + D - row // D) % D
    return i, j, product, linear, constant


@triton.jit
def _weights(block, d: tl.constexpr, D: tl.constexpr):
    """w^2 of each row: what phi(q).phi(k) weighs f(q) f(k) with: (64,)."""
    i, j, product, linear, constant = _rows(block, D)
    products = tl.where(i == j, 0.5 / d, 1.0 / d)
    others = tl.where(linear, 1.0 / tl.sqrt(d * 1.0), tl.where(constant, 1.0, 0.0))
    return tl.where(product, products, others)


@triton.jit
def _columns(block, D: tl.constexpr):
    """Which column of x each row's first factor is, then each row's second; -1 for none: (128,)."""
    n = tl.arange(0, 128)
    row = block * 64 + n % 64
    products: tl.constexpr = D * D // 2 + D // 2
    product = row < products
    linear = (row >= products) & (row < products + D)
    i = tl.where(product, row, row - products) % D
    j = (i + D - row // D) % D
    return tl.where(n < 64, tl.where(product | linear, i, -1), tl.where(product, j, -1))


@triton.jit
def _dot(a, b, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(DTYPE), b.to(DTYPE), input_precision=PRECISION)


@triton.jit
def _factors(x, block, D: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """Both factors of the features of x (C, D): (C, 64) each."""
    pick = tl.arange(0, D)[:, None] == _columns(block, D)[None, :]  # (D, 128)
    both = _dot(x, pick.to(tl.float32), DTYPE, PRECISION)  # (C, 128)
    a, b = tl.split(tl.permute(tl.reshape(both, (x.shape[0], 2, 64)), (0, 2, 1)))
    if block == D * D // 128:
        _, _, _, linear, constant = _rows(block, D)
        a += constant.to(tl.float32)[None, :]
        b += (linear | constant).to(tl.float32)[None, :]
    return a, b


@triton.jit
def _update(
    x, v, z_weight, S, z, block,
    D: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """S + f(x)^T v and z + f(x)^T z_weight of one block: x (C, D), v (C, V), S (64, V)."""
    pick = _columns(block, D)[:, None] == tl.arange(0, D)[None, :]  # (128, D)
    both = _dot(pick.to(tl.float32), tl.trans(x), DTYPE, PRECISION)  # (128, C)
    a, b = tl.split(tl.permute(tl.reshape(both, (2, 64, x.shape[0])), (1, 2, 0)))
    if block == D * D // 128:
        _, _, _, linear, constant = _rows(block, D)
        a += constant.to(tl.float32)[:, None]
        b += (linear | constant).to(tl.float32)[:, None]
    f_t = a * b  # (64, C)
    return S + _dot(f_t, v, DTYPE, PRECISION), z + tl.sum(f_t * z_weight[None, :], 1)


@triton.jit
def _read(
    numerator, denominator, q, S, z, block,
    d: tl.constexpr, D: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what one block of the state tells the queries (C, D)."""
    w2 = _weights(block, d, D)
    first, second = _factors(q, block, D, DTYPE, PRECISION)
    f = first * second  # (C, 64)
    numerator += _dot(f, S * w2[:, None], DTYPE, PRECISION)
    denominator += tl.sum(f * (z * w2)[None, :], 1)
    return numerator, denominator


@triton.jit
def _gradient(
    dx, x, g, minus, S, z, block,
    d: tl.constexpr, D: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add to dx (C, D) the gradient through the features of x: df = g S^T - minus z^T."""
    w2 = _weights(block, d, D)
    first, second = _factors(x, block, D, DTYPE, PRECISION)
    first = first.to(DTYPE)  # exact
    second = second.to(DTYPE)
    S_t = tl.trans((S * w2[:, None]).to(DTYPE))  # (V, 64)
    df = _dot(g, S_t, DTYPE, PRECISION) - minus[:, None] * (z * w2)[None, :]
    df = df.to(DTYPE)  # (C, 64)
    both = tl.permute(tl.join(df * second, df * first), (0, 2, 1))  # (C, 2, 64)
    pick = _columns(block, D)[:, None] == tl.arange(0, D)[None, :]  # (128, D)
    dx += _dot(tl.reshape(both, (x.shape[0], 128)), pick.to(tl.float32), DTYPE, PRECISION)
    return dx, first * second


@triton.jit
def _load(x, t0, T, stride, width, C: tl.constexpr, W: tl.constexpr, FULL: tl.constexpr):
    """Rows t0..t0+C of x (T, width), zeros beyond both edges; FULL where width >= W: (C, W)."""
    row = tl.arange(0, C)
    column = tl.arange(0, W)
    inside = (t0 + row < T)[:, None]
    if not FULL:
        inside = inside & (column < width)[None, :]
    base = x + t0.to(tl.int64) * stride
    return tl.load(base + (row[:, None] * stride + column[None, :]), mask=inside, other=0.0)


@triton.jit
def _store(x, value, t0, T, stride, width, C: tl.constexpr, W: tl.constexpr, FULL: tl.constexpr):
    """Write value (C, W) to rows t0..t0+C of x (T, width)."""
    row = tl.arange(0, C)
    column = tl.arange(0, W)
    inside = (t0 + row < T)[:, None]
    if not FULL:
        inside = inside & (column < width)[None, :]
    base = x + t0.to(tl.int64) * stride
    tl.store(base + (row[:, None] * stride + column[None, :]), value, mask=inside)


@triton.jit
def _load_block(S, z, slot, vb, NV, block, NB: tl.constexpr, V: tl.constexpr):
    """One block of state `slot` in S (slots, R, NV V) and z (slots, R): (64, V), (64,)."""
    row = slot.to(tl.int64) * (NB * 64) + block * 64 + tl.arange(0, 64)
    column = vb * V + tl.arange(0, V)
    return tl.load(S + row[:, None] * (NV * V) + column[None, :]), tl.load(z + row)


@triton.jit
def _store_block(S, z, S_block, z_block, slot, vb, NV, block, NB: tl.constexpr, V: tl.constexpr):
    row = slot.to(tl.int64) * (NB * 64) + block * 64 + tl.arange(0, 64)
    column = vb * V + tl.arange(0, V)
    tl.store(S + row[:, None] * (NV * V) + column[None, :], S_block)
    if vb == 0:
        tl.store(z + row, z_block)


@triton.jit
def _load_state(
    S, z, slot, vb, NV,
    NB: tl.constexpr, V: tl.constexpr, CARRY: tl.constexpr, RESIDENT: tl.constexpr,
):  # fmt: skip
    """The state to start from: NB blocks (64, V) and (64,), none where it stays in memory."""
    blocks = ()
    z_blocks = ()
    if RESIDENT:
        for b in tl.static_range(NB):
            if CARRY:
                S_block, z_block = _load_block(S, z, slot, vb, NV, b, NB, V)
            else:
                S_block = tl.zeros((64, V), tl.float32)
                z_block = tl.zeros((64,), tl.float32)
            blocks = blocks + (S_block,)
            z_blocks = z_blocks + (z_block,)
    return blocks, z_blocks


@triton.jit
def _store_state(S, z, blocks, z_blocks, slot, vb, NV, NB: tl.constexpr, V: tl.constexpr):
    for b in tl.static_range(NB):
        _store_block(S, z, blocks[b], z_blocks[b], slot, vb, NV, b, NB, V)


@triton.jit
def _accumulate(
    x, v, z_weight, blocks, z_blocks, S, z, slot,
    D: tl.constexpr, NB: tl.constexpr, V: tl.constexpr, RESIDENT: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add f(x)^T v to the state and f(x)^T z_weight to the normaliser: x (C, D), v (C, V)."""
    new = ()
    new_z = ()
    if RESIDENT:
        for b in tl.static_range(NB):
            S_block, z_block = _update(
                x, v, z_weight, blocks[b], z_blocks[b], b, D, DTYPE, PRECISION
            )
            new = new + (S_block,)
            new_z = new_z + (z_block,)
    else:
        for b in range(NB):
            S_block, z_block = _load_block(S, z, slot, 0, 1, b, NB, V)
            S_block, z_block = _update(x, v, z_weight, S_block, z_block, b, D, DTYPE, PRECISION)
            _store_block(S, z, S_block, z_block, slot, 0, 1, b, NB, V)
        tl.debug_barrier()
    return new, new_z


@triton.jit(do_not_specialize=["T", "H", "splits", "split_length"])
def _sum_kernel(
    x, v, den, delta, S, z,
    x_b, x_t, x_h, v_b, v_t, v_h,
    T, H, splits, split_length, NV,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, NB: tl.constexpr,
    C: tl.constexpr, RESIDENT: tl.constexpr, BACKWARD: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Each split's own sum f(k) v^T, or f(q) (dy/den)^T for the backward pass."""
    program = tl.program_id(0)
    vb = program % NV
    slot = program // NV
    start = (slot % splits) * split_length
    bh = (slot // splits).to(tl.int64)
    x += (bh // H) * x_b + (bh % H) * x_h
    v += (bh // H) * v_b + (bh % H) * v_h + vb * V
    blocks, z_blocks = _load_state(S, z, slot, vb, NV, NB, V, False, RESIDENT)
    for i in range(0, tl.cdiv(tl.minimum(start + split_length, T) - start, C)):
        t0 = start + i * C
        x_tile = _load(x, t0, T, x_t, d, C, D, d == D).to(DTYPE)
        v_tile = _load(v, t0, T, v_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        t = t0 + tl.arange(0, C)
        if BACKWARD:
            weight = 1.0 / tl.load(den + bh * T + t, mask=t < T, other=1.0)
            v_tile = (v_tile * weight[:, None]).to(DTYPE)
            z_weight = tl.load(delta + bh * T + t, mask=t < T, other=0.0)
        else:
            z_weight = (t < T).to(tl.float32)
        blocks, z_blocks = _accumulate(
            x_tile, v_tile, z_weight, blocks, z_blocks, S, z, slot,
            D, NB, V, RESIDENT, DTYPE, PRECISION,
        )  # fmt: skip
    if RESIDENT:
        _store_state(S, z, blocks, z_blocks, slot, vb, NV, NB, V)


@triton.jit(do_not_specialize=["splits"])
def _scan_kernel(
    S, initial, splits, size, REVERSE: tl.constexpr, INITIAL: tl.constexpr, N: tl.constexpr
):
    """Turn each split's own sum into the sum over the splits before it, in place.

    S (BH, splits, size); with REVERSE, the sum over the splits after it.
    """
    bh = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * N + tl.arange(0, N)
    inside = column < size
    carry = tl.zeros((N,), tl.float32)
    if INITIAL:
        carry += tl.load(initial + bh * size + column, mask=inside, other=0.0)
    for i in range(splits):
        split = i
        if REVERSE:
            split = splits - 1 - i
        pointer = S + (bh * splits + split) * size + column
        own = tl.load(pointer, mask=inside, other=0.0)
        tl.store(pointer, carry, mask=inside)
        carry += own


@triton.jit(do_not_specialize=["T", "H", "splits", "split_length"])
def _forward_kernel(
    q, k, v, y, den, S, z, last_S, last_z,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, y_b, y_t, y_h,
    T, H, splits, split_length, NV,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, NB: tl.constexpr,
    C: tl.constexpr, RESIDENT: tl.constexpr, CARRY: tl.constexpr, LAST: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    vb = program % NV
    slot = program // NV
    start = (slot % splits) * split_length
    bh = (slot // splits).to(tl.int64)
    q += (bh // H) * q_b + (bh % H) * q_h
    k += (bh // H) * k_b + (bh % H) * k_h
    v += (bh // H) * v_b + (bh % H) * v_h + vb * V
    y += (bh // H) * y_b + (bh % H) * y_h + vb * V
    scale = 1.0 / tl.sqrt(d * 1.0)
    c = tl.arange(0, C)
    blocks, z_blocks = _load_state(S, z, slot, vb, NV, NB, V, CARRY, RESIDENT)
    for i in range(0, tl.cdiv(tl.minimum(start + split_length, T) - start, C)):
        t0 = start + i * C
        q_tile = _load(q, t0, T, q_t, d, C, D, d == D).to(DTYPE)
        k_tile = _load(k, t0, T, k_t, d, C, D, d == D).to(DTYPE)
        v_tile = _load(v, t0, T, v_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        s = _dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale
        A = tl.where(c[:, None] >= c[None, :], 1.0 + s + 0.5 * s * s, 0.0)  # (C, C)
        numerator = _dot(A, v_tile, DTYPE, PRECISION)  # (C, V)
        denominator = tl.sum(A, 1)
        if RESIDENT:
            for b in tl.static_range(NB):
                numerator, denominator = _read(
                    numerator, denominator, q_tile, blocks[b], z_blocks[b], b,
                    d, D, DTYPE, PRECISION,
                )  # fmt: skip
        else:
            for b in range(NB):
                S_block, z_block = _load_block(S, z, slot, 0, 1, b, NB, V)
                numerator, denominator = _read(
                    numerator, denominator, q_tile, S_block, z_block, b, d, D, DTYPE, PRECISION
                )
        z_weight = (t0 + c < T).to(tl.float32)
        blocks, z_blocks = _accumulate(
            k_tile, v_tile, z_weight, blocks, z_blocks, S, z, slot,
            D, NB, V, RESIDENT, DTYPE, PRECISION,
        )  # fmt: skip
        out = numerator / denominator[:, None]
        _store(y, out.to(y.dtype.element_ty), t0, T, y_t, dv - vb * V, C, V, dv % V == 0)
        if vb == 0:
            tl.store(den + bh * T + t0 + c, denominator, mask=t0 + c < T)
    if LAST and RESIDENT:
        if slot % splits == splits - 1:
            _store_state(last_S, last_z, blocks, z_blocks, slot // splits, vb, NV, NB, V)


@triton.jit(do_not_specialize=["T", "H"])
def _delta_kernel(
    y, dy, den, delta, y_b, y_t, y_h, dy_b, dy_t, dy_h, T, H,
    dv: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """delta = (dy . y) / den, the gradient that reaches the denominator, negated: (BH, T)."""
    bh = tl.program_id(1).to(tl.int64)
    t0 = tl.program_id(0) * C
    y += (bh // H) * y_b + (bh % H) * y_h
    dy += (bh // H) * dy_b + (bh % H) * dy_h
    y_tile = _load(y, t0, T, y_t, dv, C, W, dv == W).to(tl.float32)
    dy_tile = _load(dy, t0, T, dy_t, dv, C, W, dv == W).to(tl.float32)
    t = t0 + tl.arange(0, C)
    denominator = tl.load(den + bh * T + t, mask=t < T, other=1.0)
    tl.store(delta + bh * T + t, tl.sum(y_tile * dy_tile, 1) / denominator, mask=t < T)


@triton.jit(do_not_specialize=["T", "H", "splits", "split_length"])
def _dq_kernel(
    q, k, v, dy, den, delta, dq, S, z,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, dy_b, dy_t, dy_h, dq_v, dq_b, dq_t, dq_h,
    T, H, splits, split_length, NV,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, NB: tl.constexpr,
    C: tl.constexpr, RESIDENT: tl.constexpr, CARRY: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq in forward order, rebuilding the state: dq (NV, B, T, H, d), to be summed over NV."""
    program = tl.program_id(0)
    vb = program % NV
    slot = program // NV
    start = (slot % splits) * split_length
    bh = (slot // splits).to(tl.int64)
    q += (bh // H) * q_b + (bh % H) * q_h
    k += (bh // H) * k_b + (bh % H) * k_h
    v += (bh // H) * v_b + (bh % H) * v_h + vb * V
    dy += (bh // H) * dy_b + (bh % H) * dy_h + vb * V
    dq += vb * dq_v + (bh // H) * dq_b + (bh % H) * dq_h
    scale = 1.0 / tl.sqrt(d * 1.0)
    c = tl.arange(0, C)
    blocks, z_blocks = _load_state(S, z, slot, vb, NV, NB, V, CARRY, RESIDENT)
    for i in range(0, tl.cdiv(tl.minimum(start + split_length, T) - start, C)):
        t0 = start + i * C
        q_tile = _load(q, t0, T, q_t, d, C, D, d == D).to(DTYPE)
        k_tile = _load(k, t0, T, k_t, d, C, D, d == D).to(DTYPE)
        v_tile = _load(v, t0, T, v_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        dy_tile = _load(dy, t0, T, dy_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        t = t0 + c
        weight = 1.0 / tl.load(den + bh * T + t, mask=t < T, other=1.0)
        minus = tl.load(delta + bh * T + t, mask=t < T, other=0.0)
        if vb > 0:
            minus *= 0.0
        dn = (dy_tile * weight[:, None]).to(DTYPE)  # the numerator's gradient (C, V)
        s = _dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale
        dA = _dot(dn, tl.trans(v_tile), DTYPE, PRECISION) - minus[:, None]
        ds = tl.where(c[:, None] >= c[None, :], dA * (1.0 + s), 0.0)
        dx = _dot(ds * scale, k_tile, DTYPE, PRECISION)  # (C, D)
        if RESIDENT:
            for b in tl.static_range(NB):
                dx, _ = _gradient(
                    dx, q_tile, dn, minus, blocks[b], z_blocks[b], b, d, D, DTYPE, PRECISION
                )
        else:
            for b in range(NB):
                S_block, z_block = _load_block(S, z, slot, 0, 1, b, NB, V)
                dx, _ = _gradient(
                    dx, q_tile, dn, minus, S_block, z_block, b, d, D, DTYPE, PRECISION
                )
        z_weight = (t < T).to(tl.float32)
        blocks, z_blocks = _accumulate(
            k_tile, v_tile, z_weight, blocks, z_blocks, S, z, slot,
            D, NB, V, RESIDENT, DTYPE, PRECISION,
        )  # fmt: skip
        _store(dq, dx.to(dq.dtype.element_ty), t0, T, dq_t, d, C, D, d == D)


@triton.jit(do_not_specialize=["T", "H", "splits", "split_length"])
def _dkv_kernel(
    q, k, v, dy, den, delta, dk, dv_out, S, z, first_S, first_z,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, dy_b, dy_t, dy_h, dk_v, dk_b, dk_t, dk_h,
    dv_b, dv_t, dv_h, T, H, splits, split_length, NV,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr, NB: tl.constexpr,
    C: tl.constexpr, RESIDENT: tl.constexpr, CARRY: tl.constexpr, FIRST: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv in reverse order, with U = sum f(q) dn^T over later tokens as the state.

    u = sum f(q) delta; dk (NV, B, T, H, d), to be summed over NV.
    """
    program = tl.program_id(0)
    vb = program % NV
    slot = program // NV
    start = (slot % splits) * split_length
    bh = (slot // splits).to(tl.int64)
    q += (bh // H) * q_b + (bh % H) * q_h
    k += (bh // H) * k_b + (bh % H) * k_h
    v += (bh // H) * v_b + (bh % H) * v_h + vb * V
    dy += (bh // H) * dy_b + (bh % H) * dy_h + vb * V
    dk += vb * dk_v + (bh // H) * dk_b + (bh % H) * dk_h
    dv_out += (bh // H) * dv_b + (bh % H) * dv_h + vb * V
    scale = 1.0 / tl.sqrt(d * 1.0)
    c = tl.arange(0, C)
    blocks, z_blocks = _load_state(S, z, slot, vb, NV, NB, V, CARRY, RESIDENT)
    chunks = tl.cdiv(tl.minimum(start + split_length, T) - start, C)
    for i in range(0, chunks):
        t0 = start + (chunks - 1 - i) * C
        q_tile = _load(q, t0, T, q_t, d, C, D, d == D).to(DTYPE)
        k_tile = _load(k, t0, T, k_t, d, C, D, d == D).to(DTYPE)
        v_tile = _load(v, t0, T, v_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        dy_tile = _load(dy, t0, T, dy_t, dv - vb * V, C, V, dv % V == 0).to(DTYPE)
        t = t0 + c
        weight = 1.0 / tl.load(den + bh * T + t, mask=t < T, other=1.0)
        minus = tl.load(delta + bh * T + t, mask=t < T, other=0.0)
        dn = (dy_tile * weight[:, None]).to(DTYPE)
        s_t = _dot(k_tile, tl.trans(q_tile), DTYPE, PRECISION) * scale  # (C keys, C queries)
        seen = c[:, None] <= c[None, :]
        A_t = tl.where(seen, 1.0 + s_t + 0.5 * s_t * s_t, 0.0)
        dvalue = _dot(A_t, dn, DTYPE, PRECISION)  # (C, V)
        dA_t = _dot(v_tile, tl.trans(dn), DTYPE, PRECISION)
        if vb == 0:
            dA_t -= minus[None, :]
        ds_t = tl.where(seen, dA_t * (1.0 + s_t), 0.0)
        dx = _dot(ds_t * scale, q_tile, DTYPE, PRECISION)  # (C, D)
        counted = tl.full((C,), 1.0, tl.float32)
        if vb > 0:
            counted *= 0.0
        if RESIDENT:
            for b in tl.static_range(NB):
                dx, f = _gradient(
                    dx, k_tile, v_tile, counted, blocks[b], z_blocks[b], b, d, D, DTYPE, PRECISION
                )
                U = blocks[b] * _weights(b, d, D)[:, None]  # (64, V)
                dvalue += _dot(f, U, DTYPE, PRECISION)
        else:
            for b in range(NB):
                S_block, z_block = _load_block(S, z, slot, 0, 1, b, NB, V)
                dx, f = _gradient(
                    dx, k_tile, v_tile, counted, S_block, z_block, b, d, D, DTYPE, PRECISION
                )
                dvalue += _dot(f, S_block * _weights(b, d, D)[:, None], DTYPE, PRECISION)
        blocks, z_blocks = _accumulate(
            q_tile, dn, minus, blocks, z_blocks, S, z, slot,
            D, NB, V, RESIDENT, DTYPE, PRECISION,
        )  # fmt: skip
        _store(dk, dx.to(dk.dtype.element_ty), t0, T, dk_t, d, C, D, d == D)
        _store(
            dv_out, dvalue.to(dv_out.dtype.element_ty), t0, T, dv_t, dv - vb * V, C, V, dv % V == 0
        )
    if FIRST and RESIDENT:
        if slot % splits == 0:
            _store_state(first_S, first_z, blocks, z_blocks, slot // splits, vb, NV, NB, V)


@triton.jit
def _step_features(x, row, d: tl.constexpr):
    """phi(x), weights included, at the packed rows: x (d,) in memory."""
    product = row > d
    m = tl.where(product, row - 1 - d, row - 1)
    r = tl.where(product, m // d, 0)
    i = m % d
    j = (i + d - r) % d
    used = row < 1 + d + d * (d + 1) // 2
    first = tl.load(x + i, mask=used & (row > 0), other=1.0).to(tl.float32)
    second = tl.load(x + j, mask=used & product, other=1.0).to(tl.float32)
    root = tl.sqrt(1.0 / d)
    weight = tl.where(r == 0, root * 0.7071067811865476, root)
    weight = tl.where(product, weight, tl.where(row > 0, tl.sqrt(root), 1.0))
    return tl.where(used, first * second * weight, 0.0)


@triton.jit
def _step_kernel(
    q, k, v, y, kv, z, new_kv, new_z, q_b, q_h, k_b, k_h, v_b, v_h, H,
    d: tl.constexpr, dv: tl.constexpr, P: tl.constexpr, V: tl.constexpr, R: tl.constexpr,
):  # fmt: skip
    """One token for one head: the state (P, dv) is read once and written once."""
    bh = tl.program_id(0).to(tl.int64)
    q += (bh // H) * q_b + (bh % H) * q_h
    k += (bh // H) * k_b + (bh % H) * k_h
    v += (bh // H) * v_b + (bh % H) * v_h
    column = tl.arange(0, V)
    value = tl.load(v + column, mask=column < dv, other=0.0).to(tl.float32)
    numerator = tl.zeros((V,), tl.float32)
    denominator = 0.0
    for start in tl.static_range(0, P, R):
        row = start + tl.arange(0, R)
        phi_q = _step_features(q, row, d)
        phi_k = _step_features(k, row, d)
        inside = (row < P)[:, None] & (column < dv)[None, :]
        offset = bh * (P * dv) + row[:, None] * dv + column[None, :]
        S = tl.load(kv + offset, mask=inside, other=0.0) + phi_k[:, None] * value[None, :]
        tl.store(new_kv + offset, S, mask=inside)
        z_rows = tl.load(z + bh * P + row, mask=row < P, other=0.0) + phi_k
        tl.store(new_z + bh * P + row, z_rows, mask=row < P)
        numerator += tl.sum(phi_q[:, None] * S, 0)
        denominator += tl.sum(phi_q * z_rows, 0)
    out = numerator / denominator
    tl.store(y + bh * dv + column, out.to(y.dtype.element_ty), mask=column < dv)


CHUNK = 64
SPLIT_CHUNKS = 8
"""A split holds at least this many chunks: the state's traffic stays below the values'."""
PROGRAMS = 256
"""A sequence is split until there are about as many programs: two on each multiprocessor."""
FEATURE_DIM_LIMIT = 32


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on a q like ``tensor``; None where they can."""
    if tensor.shape[-1] > FEATURE_DIM_LIMIT:
        return f"its feature dimension is at most {FEATURE_DIM_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, TaylorState]:
    """See `recall_bench.kernels.taylor_attention.taylor_attention`."""
    dtype = functools.reduce(torch.promote_types, (q.dtype, k.dtype, v.dtype))
    kv, z = initial_state if initial_state is not None else (None, None)
    y, _, kv, z = _attention(q.to(dtype), k.to(dtype), v.to(dtype), kv, z, return_state)
    y = y.to(v.dtype)
    return (y, TaylorState(kv, z)) if return_state else y


def taylor_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: TaylorState
) -> tuple[Tensor, TaylorState]:
    """See `recall_bench.kernels.taylor_attention.taylor_attention_step`."""
    if needs_gradient(q, k, v, *state):
        token = q[:, None], k[:, None], v[:, None]
        y, new = taylor_attention(*token, initial_state=state, return_state=True)
        return y[:, 0], new
    y, kv, z = _step(q, k, v, state.kv, state.z)
    return y, TaylorState(kv, z)


class _Plan:
    """Sizes of one problem, and what the kernels of every pass take in common."""

    def __init__(self, q: Tensor, v: Tensor):
        self.B, self.T, self.H, self.d = q.shape
        self.dv = v.shape[-1]
        self.D = 16 if self.d <= 16 else 32
        self.NB = self.D * self.D // 128 + 1
        resident = self.D == 16
        width = max(16, triton.next_power_of_2(self.dv))
        self.V = min(64, width) if resident else width
        self.NV = triton.cdiv(self.dv, self.V)
        sequences = max(1, self.B * self.H)
        chunks = max(1, triton.cdiv(self.T, CHUNK))
        wanted = triton.cdiv(PROGRAMS, sequences * self.NV)
        self.splits = max(1, min(wanted, chunks // SPLIT_CHUNKS))
        self.split_chunks = triton.cdiv(chunks, self.splits)
        self.splits = triton.cdiv(chunks, self.split_chunks)
        self.grid = (sequences * self.splits * self.NV,)
        self.sizes = (self.T, self.H, self.splits, self.split_chunks * CHUNK, self.NV)
        # Triton 3.6 on Hopper: wrong dq and stray addresses, with a state in memory in bfloat16.
        miscompiled = not resident and q.dtype == torch.bfloat16
        self.constants: dict[str, Any] = {
            "d": self.d,
            "dv": self.dv,
            "D": self.D,
            "V": self.V,
            "NB": self.NB,
            "C": CHUNK,
            "RESIDENT": resident,
            **dot_constants(torch.float16 if miscompiled else q.dtype),
            "num_warps": 4,
            "num_stages": 1,
        }

    def state_buffers(self, slots: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Raw states and normalisers: (slots, R, NV V), (slots, R), float32, not initialised."""
        R = 64 * self.NB
        S = like.new_empty(slots, R, self.NV * self.V, dtype=torch.float32)
        return S, like.new_empty(slots, R, dtype=torch.float32)

    def kept(self, S: Tensor | None, z: Tensor | None, split: int) -> tuple[Tensor, Tensor]:
        """What one split's programs have left of states that stay in memory."""
        assert S is not None
        assert z is not None
        shape = (-1, self.splits)
        return S.unflatten(0, shape)[:, split], z.unflatten(0, shape)[:, split]

    def pack(self, S: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Raw state -> (B, H, P, dv), (B, H, P)."""
        rows, w = _row_order(self.d, self.D, S.device)
        shape = (self.B, self.H, len(rows))
        kv = S[:, rows, : self.dv] * w[:, None]
        return kv.reshape(*shape, self.dv), (z[:, rows] * w).reshape(shape)

    def unpack(self, kv: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, P, dv), (B, H, P) -> raw state."""
        rows, w = _row_order(self.d, self.D, kv.device)
        raw_S, raw_z = self.state_buffers(self.B * self.H, kv)
        raw_S.zero_()[:, rows, : self.dv] = kv.float().flatten(0, 1) / w[:, None]
        raw_z.zero_()[:, rows] = z.float().flatten(0, 1) / w
        return raw_S, raw_z

    def carry(
        self,
        x: Tensor,
        v: Tensor,
        initial: tuple[Tensor, Tensor] | None,
        den: Tensor | None = None,
        delta: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Raw states that the splits start from, None for zeros.

        Forward without ``den``: sums of f(k) v^T. With it the sums of f(q) (dy / den)^T, backwards.
        """
        resident = self.constants["RESIDENT"]
        if self.splits == 1 and (initial is not None or resident):
            return initial if initial is not None else (None, None)
        backward = den is not None
        S, z = self.state_buffers(self.B * self.H * self.splits, x)
        if not resident:
            S.zero_(), z.zero_()
            if self.splits == 1:
                return S, z
        _sum_kernel[self.grid](
            x, v, den, delta, S, z, *x.stride()[:3], *v.stride()[:3], *self.sizes,
            BACKWARD=backward, **self.constants,
        )  # fmt: skip
        for i, buffer in enumerate((S, z)):
            size = buffer[0].numel()
            _scan_kernel[triton.cdiv(size, 1024), self.B * self.H](
                buffer, initial[i] if initial is not None else None, self.splits, size,
                REVERSE=backward, INITIAL=initial is not None, N=1024,
            )  # fmt: skip
        return S, z


@functools.lru_cache(maxsize=64)
def _row_order(d: int, D: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The kernels' row of each packed feature, and its weight w: (P,), (P,)."""
    products = D * D // 2 + D // 2
    rows, weights = [products + D], [1.0]
    for i in range(d):
        rows.append(products + i)
        weights.append(d**-0.25)
    for r in range(d // 2 + 1):
        for a in range(d // 2 if 2 * r == d else d):
            b = (a - r) % d
            i, j = (a, b) if (a - b) % D < D // 2 else (b, a)
            if (a - b) % D == D // 2:
                i, j = min(a, b), max(a, b)
            rows.append((i - j) % D * D + i)
            weights.append((2 * d) ** -0.5 if r == 0 else d**-0.5)
    return torch.tensor(rows, device=device), torch.tensor(weights, device=device)


def _forward(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, return_state: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, the denominators (B, H, T), and the last state, or empty tensors without return_state."""
    y, den, last_kv, last_z = _attention_shapes(q, k, v, kv, z, return_state)
    if not return_state and y.numel() == 0:
        return y, den, last_kv, last_z
    plan = _Plan(q, v)
    if y.numel() == 0:
        if kv is None or z is None:
            return y, den, last_kv.zero_(), last_z.zero_()
        return y, den, last_kv.copy_(kv), last_z.copy_(z)
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    initial = plan.unpack(kv, z) if kv is not None and z is not None else None
    S, carry_z = plan.carry(k, v, initial)
    last = plan.state_buffers(plan.B * plan.H, q) if return_state else (None, None)
    _forward_kernel[plan.grid](
        q, k, v, y, den, S, carry_z, *last,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *y.stride()[:3], *plan.sizes,
        CARRY=S is not None, LAST=return_state, **plan.constants,
    )  # fmt: skip
    if not plan.constants["RESIDENT"]:
        last = plan.kept(S, carry_z, -1)
    if return_state:
        last_kv, last_z = plan.pack(*last)
    return y, den, last_kv, last_z


def _attention_shapes(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor | None, z: Tensor | None, return_state: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    B, T, H, d = q.shape
    P = packed_size(d)
    y = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    den = q.new_empty(B, H, T, dtype=torch.float32)
    kept = (B, H, P) if return_state else (0, 0, 0)
    last_kv = q.new_empty(*kept, v.shape[-1], dtype=torch.float32)
    return y, den, last_kv, q.new_empty(kept, dtype=torch.float32)


@torch.library.custom_op("recall_bench::taylor_attention_backward", mutates_args=())
def _attention_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kv: Tensor | None,
    z: Tensor | None,
    y: Tensor,
    den: Tensor,
    dy: Tensor,
    d_last_kv: Tensor,
    d_last_z: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv and the gradients of the initial state, empty without one."""
    dq, dk, dv, dkv, dz = _attention_backward_shapes(
        q, k, v, kv, z, y, den, dy, d_last_kv, d_last_z
    )
    if y.numel() == 0:
        gradients = dq.zero_(), dk.zero_(), dv.zero_(), dkv.zero_(), dz.zero_()
        if kv is not None and d_last_kv.numel() > 0:
            dkv.copy_(d_last_kv), dz.copy_(d_last_z)
        return gradients
    plan = _Plan(q, v)
    q, k, v, dy = (rows_contiguous(x) for x in (q, k, v, dy))
    delta = torch.empty_like(den)
    _delta_kernel[triton.cdiv(plan.T, CHUNK), plan.B * plan.H](
        y, dy, den, delta, *y.stride()[:3], *dy.stride()[:3], plan.T, plan.H,
        dv=plan.dv, W=triton.next_power_of_2(plan.dv), C=CHUNK,
    )  # fmt: skip
    strides = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *dy.stride()[:3])
    if plan.NV == 1:
        dq_parts, dk_parts = dq[None], dk[None]
    else:
        dq_parts = dq.new_empty(plan.NV, *dq.shape, dtype=torch.float32)
        dk_parts = torch.empty_like(dq_parts)

    initial = plan.unpack(kv, z) if kv is not None and z is not None else None
    S, carry_z = plan.carry(k, v, initial)
    _dq_kernel[plan.grid](
        q, k, v, dy, den, delta, dq_parts, S, carry_z,
        *strides, *dq_parts.stride()[:4], *plan.sizes,
        CARRY=S is not None, **plan.constants,
    )  # fmt: skip

    final = plan.unpack(d_last_kv, -d_last_z) if d_last_kv.numel() > 0 else None
    U, u = plan.carry(q, dy, final, den, delta)
    first = plan.state_buffers(plan.B * plan.H, q) if initial is not None else (None, None)
    _dkv_kernel[plan.grid](
        q, k, v, dy, den, delta, dk_parts, dv, U, u, *first,
        *strides, *dk_parts.stride()[:4], *dv.stride()[:3], *plan.sizes,
        CARRY=U is not None, FIRST=initial is not None, **plan.constants,
    )  # fmt: skip
    if plan.NV > 1:
        dq, dk = dq_parts.sum(0).to(q.dtype), dk_parts.sum(0).to(k.dtype)
    if not plan.constants["RESIDENT"]:
        first = plan.kept(U, u, 0)
    if initial is not None:
        dkv, dz = plan.pack(*first)
        dz = -dz
    return dq, dk, dv, dkv, dz


@_attention_backward.register_fake
def _attention_backward_shapes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kv: Tensor | None,
    z: Tensor | None,
    y: Tensor,
    den: Tensor,
    dy: Tensor,
    d_last_kv: Tensor,
    d_last_z: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    if kv is None or z is None:
        return dq, dk, dv, q.new_empty(0), q.new_empty(0)
    return dq, dk, dv, torch.empty_like(kv), torch.empty_like(z)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:5], *output[:2])


def _differentiate(
    ctx: Any, dy: Tensor | None, _: Any, dkv: Tensor | None, dz: Tensor | None
) -> tuple[Any, ...]:
    q, k, v, kv, z, y, den = ctx.saved_tensors
    dy = torch.zeros_like(y) if dy is None else dy
    if dkv is None and dz is None:
        dkv = dz = den.new_empty(0)
    elif dkv is None or dz is None:
        *kept, P = den.shape[0], q.shape[2], packed_size(q.shape[-1])
        dkv = den.new_zeros(*kept, P, v.shape[-1]) if dkv is None else dkv
        dz = den.new_zeros(*kept, P) if dz is None else dz
    dq, dk, dv, dkv, dz = _attention_backward(q, k, v, kv, z, y, den, dy, dkv, dz)
    return dq, dk, dv, *((None, None) if kv is None else (dkv, dz)), None


_attention_op = torch.library.custom_op("recall_bench::taylor_attention", _forward, mutates_args=())
_attention_op.register_fake(_attention_shapes)
_attention_op.register_autograd(_differentiate, setup_context=_save)
_attention = differentiable(_attention_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::taylor_attention_step", mutates_args=())
@on_own_device
def _step(q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y and the new state (B, H, P, dv), (B, H, P)."""
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    kv, z = kv.float().contiguous(), z.float().contiguous()
    y, new_kv, new_z = _step_shapes(q, k, v, kv, z)
    B, H, P, dv = kv.shape
    if y.numel() > 0:
        _step_kernel[(B * H,)](
            q, k, v, y, kv, z, new_kv, new_z,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], H,
            d=q.shape[-1], dv=dv, P=P, V=triton.next_power_of_2(dv), R=32, num_warps=4,
        )  # fmt: skip
    return y, new_kv, new_z


@_step.register_fake
def _step_shapes(
    q: Tensor, k: Tensor, v: Tensor, kv: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    new_kv = torch.empty(kv.shape, dtype=torch.float32, device=v.device)
    return y, new_kv, torch.empty(z.shape, dtype=torch.float32, device=v.device)
