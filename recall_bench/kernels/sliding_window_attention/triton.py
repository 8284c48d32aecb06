"""Sliding-window attention in Triton: online softmax over the key tiles in reach of a query tile.

Dimensions: B batch, T length, H heads, G key-value heads, d and dv the head dimensions of keys and
values, padded to D and V; tiles of M queries and N keys; W window. s = q.k / sqrt(d); the backward
pass recomputes the probabilities from the log-sum-exp (Dao et al., arXiv 2205.14135, algorithm 4).
"""
# mypy: disable-error-code="no-untyped-def"

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.sliding_window_attention import reference
from recall_bench.kernels.sliding_window_attention.reference import WindowState
from recall_bench.kernels.triton_support import (
    differentiable,
    dot_constants,
    needs_gradient,
    on_own_device,
    rows_contiguous,
    unavailable_for,
)

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _dot(a, b, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(DTYPE), b.to(DTYPE), input_precision=PRECISION)


@triton.jit
def _load(x, t0, T, stride, width: tl.constexpr, C: tl.constexpr, W: tl.constexpr):
    """Rows t0..t0+C of x (T, width), zeros beyond both edges: (C, W)."""
    row = tl.arange(0, C)
    column = tl.arange(0, W)
    inside = (t0 + row < T)[:, None]
    if width < W:
        inside = inside & (column < width)[None, :]
    base = x + t0.to(tl.int64) * stride
    return tl.load(base + row[:, None] * stride + column[None, :], mask=inside, other=0.0)


@triton.jit
def _store(x, value, t0, T, stride, width: tl.constexpr, C: tl.constexpr, W: tl.constexpr):
    row = tl.arange(0, C)
    column = tl.arange(0, W)
    inside = (t0 + row < T)[:, None]
    if width < W:
        inside = inside & (column < width)[None, :]
    base = x + t0.to(tl.int64) * stride
    tl.store(
        base + row[:, None] * stride + column[None, :], value.to(x.dtype.element_ty), mask=inside
    )


@triton.jit(do_not_specialize=["T", "H", "window"])
def _forward_kernel(
    q, k, v, y, lse,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, y_b, y_t, y_h, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(T, M)
    m0 = tl.program_id(0) % tiles * M
    bh = (tl.program_id(0) // tiles).to(tl.int64)
    b = bh // H
    h = bh % H
    q += b * q_b + h * q_h
    k += b * k_b + h // group * k_h
    v += b * v_b + h // group * v_h
    y += b * y_b + h * y_h
    q_tile = _load(q, m0, T, q_t, d, M, D).to(DTYPE)
    scale = LOG2_E / tl.sqrt(d * 1.0)
    m = m0 + tl.arange(0, M)
    largest = tl.full((M,), -1e30, tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, V), tl.float32)
    first = tl.maximum(m0 - window + 1, 0) // N * N
    for i in range(0, tl.cdiv(tl.minimum(m0 + M, T) - first, N)):
        n0 = first + i * N
        k_tile = _load(k, n0, T, k_t, d, N, D).to(DTYPE)
        v_tile = _load(v, n0, T, v_t, dv, N, V).to(DTYPE)
        s = _dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * scale  # (M, N), base 2
        age = m[:, None] - (n0 + tl.arange(0, N))[None, :]
        s = tl.where((age >= 0) & (age < window), s, -float("inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(p, 1)
        out = out * shrink[:, None] + _dot(p, v_tile, DTYPE, PRECISION)
        largest = new
    _store(y, out / total[:, None], m0, T, y_t, dv, M, V)
    tl.store(lse + bh * T + m, largest + tl.log2(total), mask=m < T)


@triton.jit(do_not_specialize=["T", "H", "window"])
def _dq_kernel(
    q, k, v, y, dy, lse, delta, dq,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, y_b, y_t, y_h, dy_b, dy_t, dy_h,
    dq_b, dq_t, dq_h, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq, and delta = dy . y for the other kernel: (BH, T)."""
    tiles = tl.cdiv(T, M)
    m0 = tl.program_id(0) % tiles * M
    bh = (tl.program_id(0) // tiles).to(tl.int64)
    b = bh // H
    h = bh % H
    q += b * q_b + h * q_h
    k += b * k_b + h // group * k_h
    v += b * v_b + h // group * v_h
    y += b * y_b + h * y_h
    dy += b * dy_b + h * dy_h
    dq += b * dq_b + h * dq_h
    m = m0 + tl.arange(0, M)
    q_tile = _load(q, m0, T, q_t, d, M, D).to(DTYPE)
    dy_tile = _load(dy, m0, T, dy_t, dv, M, V)
    y_tile = _load(y, m0, T, y_t, dv, M, V)
    minus = tl.sum(dy_tile.to(tl.float32) * y_tile.to(tl.float32), 1)
    tl.store(delta + bh * T + m, minus, mask=m < T)
    dy_tile = dy_tile.to(DTYPE)
    log_total = tl.load(lse + bh * T + m, mask=m < T, other=0.0)
    root = 1.0 / tl.sqrt(d * 1.0)
    dx = tl.zeros((M, D), tl.float32)
    first = tl.maximum(m0 - window + 1, 0) // N * N
    for i in range(0, tl.cdiv(tl.minimum(m0 + M, T) - first, N)):
        n0 = first + i * N
        k_tile = _load(k, n0, T, k_t, d, N, D).to(DTYPE)
        v_tile = _load(v, n0, T, v_t, dv, N, V).to(DTYPE)
        s = _dot(q_tile, tl.trans(k_tile), DTYPE, PRECISION) * (root * LOG2_E)
        age = m[:, None] - (n0 + tl.arange(0, N))[None, :]
        p = tl.where((age >= 0) & (age < window), tl.exp2(s - log_total[:, None]), 0.0)
        dp = _dot(dy_tile, tl.trans(v_tile), DTYPE, PRECISION)
        ds = p * (dp - minus[:, None]) * root  # (M, N)
        dx += _dot(ds, k_tile, DTYPE, PRECISION)
    _store(dq, dx, m0, T, dq_t, d, M, D)


@triton.jit(do_not_specialize=["T", "H", "window"])
def _dkv_kernel(
    q, k, v, dy, lse, delta, dk, dv_out,
    q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h, dy_b, dy_t, dy_h,
    dk_b, dk_t, dk_h, dv_b, dv_t, dv_h, T, H, group, window,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv of one key tile, summed over the group's heads."""
    tiles = tl.cdiv(T, N)
    n0 = tl.program_id(0) % tiles * N
    bg = (tl.program_id(0) // tiles).to(tl.int64)
    G = H // group
    b = bg // G
    g = bg % G
    k += b * k_b + g * k_h
    v += b * v_b + g * v_h
    dk += b * dk_b + g * dk_h
    dv_out += b * dv_b + g * dv_h
    n = n0 + tl.arange(0, N)
    k_tile = _load(k, n0, T, k_t, d, N, D).to(DTYPE)
    v_tile = _load(v, n0, T, v_t, dv, N, V).to(DTYPE)
    root = 1.0 / tl.sqrt(d * 1.0)
    dx = tl.zeros((N, D), tl.float32)
    dvalue = tl.zeros((N, V), tl.float32)
    first = n0 // M * M
    steps = tl.cdiv(tl.minimum(n0 + N - 1 + window, T) - first, M)
    for i in range(0, group * steps):
        h = g * group + i // steps
        m0 = first + i % steps * M
        m = m0 + tl.arange(0, M)
        q_tile = _load(q + b * q_b + h * q_h, m0, T, q_t, d, M, D).to(DTYPE)
        dy_tile = _load(dy + b * dy_b + h * dy_h, m0, T, dy_t, dv, M, V).to(DTYPE)
        log_total = tl.load(lse + (b * H + h) * T + m, mask=m < T, other=0.0)
        minus = tl.load(delta + (b * H + h) * T + m, mask=m < T, other=0.0)
        s_t = _dot(k_tile, tl.trans(q_tile), DTYPE, PRECISION) * (root * LOG2_E)  # (N, M)
        age = m[None, :] - n[:, None]
        seen = (age >= 0) & (age < window) & (m < T)[None, :]
        p_t = tl.where(seen, tl.exp2(s_t - log_total[None, :]), 0.0)
        dvalue += _dot(p_t, dy_tile, DTYPE, PRECISION)
        dp_t = _dot(v_tile, tl.trans(dy_tile), DTYPE, PRECISION)
        ds_t = p_t * (dp_t - minus[None, :]) * root
        dx += _dot(ds_t, q_tile, DTYPE, PRECISION)
    _store(dk, dx, n0, T, dk_t, d, N, D)
    _store(dv_out, dvalue, n0, T, dv_t, dv, N, V)


@triton.jit
def _step_kernel(
    q, k, v, keys, values, position, y, new_keys, new_values, new_position,
    q_b, q_h, k_b, k_h, v_b, v_h, group, window, G,
    d: tl.constexpr, dv: tl.constexpr, D: tl.constexpr, V: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """One token for one key-value head and its group of queries (at most M): the ring is copied.

    keys (B, W, G, d) and values (B, W, G, dv) are contiguous.
    """
    bg = tl.program_id(0).to(tl.int64)
    b = bg // G
    g = bg % G
    at = tl.load(position + b)
    column = tl.arange(0, D)
    value_column = tl.arange(0, V)
    member = tl.arange(0, M)
    row = g * group + member
    q_tile = tl.load(
        q + b * q_b + row[:, None] * q_h + column[None, :],
        mask=(member < group)[:, None] & (column < d)[None, :],
        other=0.0,
    ).to(tl.float32)
    own_key = tl.load(k + b * k_b + g * k_h + column, mask=column < d, other=0.0)
    own_value = tl.load(v + b * v_b + g * v_h + value_column, mask=value_column < dv, other=0.0)
    scale = LOG2_E / tl.sqrt(d * 1.0)
    largest = tl.full((M,), -1e30, tl.float32)
    total = tl.zeros((M,), tl.float32)
    out = tl.zeros((M, V), tl.float32)
    for i in range(0, tl.cdiv(window, N)):
        slot = i * N + tl.arange(0, N)
        current = (slot == at % window)[:, None]
        inside = (slot < window)[:, None] & (column < d)[None, :]
        offset = ((b * window + slot) * G + g)[:, None] * d + column[None, :]
        key = tl.load(keys + offset, mask=inside, other=0.0)
        key = tl.where(current, own_key[None, :].to(key.dtype), key)
        tl.store(new_keys + offset, key, mask=inside)
        inside = (slot < window)[:, None] & (value_column < dv)[None, :]
        offset = ((b * window + slot) * G + g)[:, None] * dv + value_column[None, :]
        value = tl.load(values + offset, mask=inside, other=0.0)
        value = tl.where(current, own_value[None, :].to(value.dtype), value)
        tl.store(new_values + offset, value, mask=inside)
        s = tl.sum(q_tile[:, None, :] * key.to(tl.float32)[None, :, :], 2) * scale  # (M, N)
        s = tl.where(((slot <= at) & (slot < window))[None, :], s, -float("inf"))
        new = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        shrink = tl.exp2(largest - new)
        total = total * shrink + tl.sum(p, 1)
        out = out * shrink[:, None] + tl.sum(p[:, :, None] * value.to(tl.float32)[None, :, :], 1)
        largest = new
    out /= total[:, None]
    tl.store(
        y + (b * G * group + row)[:, None] * dv + value_column[None, :],
        out.to(y.dtype.element_ty),
        mask=(member < group)[:, None] & (value_column < dv)[None, :],
    )
    if g == 0:
        tl.store(new_position + b, at + 1)


HEAD_DIM_LIMIT = 256


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on a q like ``tensor``; None where they can."""
    if tensor.shape[-1] > HEAD_DIM_LIMIT:
        return f"its head dimension is at most {HEAD_DIM_LIMIT}, not {tensor.shape[-1]}"
    return unavailable_for(tensor)


def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`."""
    dtype = functools.reduce(torch.promote_types, (q.dtype, k.dtype, v.dtype))
    y, _ = _attention(q.to(dtype), k.to(dtype), v.to(dtype), window)
    return y.to(q.dtype)


def sliding_window_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: WindowState
) -> tuple[Tensor, WindowState]:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention_step`."""
    if needs_gradient(q, k, v, state.keys, state.values):
        return reference.sliding_window_attention_step(q, k, v, state)
    y, keys, values, position = _step(q, k, v, *state)
    return y, WindowState(keys, values, position)


def _constants(q: Tensor, v: Tensor) -> dict[str, Any]:
    d, dv = q.shape[-1], v.shape[-1]
    tile = 64 if max(d, dv) <= 128 and q.element_size() == 2 else 32
    return {
        "d": d,
        "dv": dv,
        "D": max(16, triton.next_power_of_2(d)),
        "V": max(16, triton.next_power_of_2(dv)),
        "M": tile,
        "N": tile,
        **dot_constants(q.dtype),
        "num_warps": 4,
        "num_stages": 2,
    }


def _forward(q: Tensor, k: Tensor, v: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """y, and the log2 of the sums of exponentials: (B, H, T)."""
    y, lse = _attention_shapes(q, k, v, window)
    if y.numel() == 0:
        return y, lse
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    B, T, H, _ = q.shape
    constants = _constants(q, v)
    _forward_kernel[(triton.cdiv(T, constants["M"]) * B * H,)](
        q, k, v, y, lse, *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *y.stride()[:3],
        T, H, H // k.shape[2], min(window, T), **constants,
    )  # fmt: skip
    return y, lse


def _attention_shapes(q: Tensor, k: Tensor, v: Tensor, window: int) -> tuple[Tensor, Tensor]:
    B, T, H, _ = q.shape
    return q.new_empty(B, T, H, v.shape[-1]), q.new_empty(B, H, T, dtype=torch.float32)


@torch.library.custom_op("recall_bench::sliding_window_attention_backward", mutates_args=())
def _attention_backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = _attention_backward_shapes(q, k, v, y, lse, dy, window)
    if y.numel() == 0:
        return dq.zero_(), dk.zero_(), dv.zero_()
    q, k, v, dy = (rows_contiguous(x) for x in (q, k, v, dy))
    B, T, H, _ = q.shape
    constants = _constants(q, v)
    inputs = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3])
    sizes = (T, H, H // k.shape[2], min(window, T))
    delta = torch.empty_like(lse)
    _dq_kernel[(triton.cdiv(T, constants["M"]) * B * H,)](
        q, k, v, y, dy, lse, delta, dq,
        *inputs, *y.stride()[:3], *dy.stride()[:3], *dq.stride()[:3], *sizes, **constants,
    )  # fmt: skip
    _dkv_kernel[(triton.cdiv(T, constants["N"]) * B * k.shape[2],)](
        q, k, v, dy, lse, delta, dk, dv,
        *inputs, *dy.stride()[:3], *dk.stride()[:3], *dv.stride()[:3], *sizes, **constants,
    )  # fmt: skip
    return dq, dk, dv


@_attention_backward.register_fake
def _attention_backward_shapes(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, lse: Tensor, dy: Tensor, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    return dq, dk, dv


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.window = inputs
    ctx.save_for_backward(q, k, v, *output)


def _differentiate(ctx: Any, dy: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return *_attention_backward(*ctx.saved_tensors, dy, ctx.window), None


_attention_op = torch.library.custom_op(
    "recall_bench::sliding_window_attention", _forward, mutates_args=()
)
_attention_op.register_fake(_attention_shapes)
_attention_op.register_autograd(_differentiate, setup_context=_save)
_attention = differentiable(_attention_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::sliding_window_attention_step", mutates_args=())
@on_own_device
def _step(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, position: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    keys, values, position = keys.contiguous(), values.contiguous(), position.contiguous()
    outputs = _step_shapes(q, k, v, keys, values, position)
    B, W, G, d = keys.shape
    if outputs[0].numel() > 0:
        D, V = (max(16, triton.next_power_of_2(x)) for x in (d, v.shape[-1]))
        group = q.shape[1] // G
        M = triton.next_power_of_2(group)
        _step_kernel[(B * G,)](
            q, k, v, keys, values, position, *outputs,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], group, W, G,
            d=d, dv=v.shape[-1], D=D, V=V, M=M,
            N=max(1, min(triton.next_power_of_2(W), 4096 // (max(D, V) * M))), num_warps=4,
        )  # fmt: skip
    return outputs


@_step.register_fake
def _step_shapes(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, position: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y = q.new_empty(*q.shape[:2], v.shape[-1])
    return y, torch.empty_like(keys), torch.empty_like(values), torch.empty_like(position)
