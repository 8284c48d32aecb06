"""The selective scan in Triton: parallel over batch, channels and, inside a chunk, time.

The recurrence h_t = a_t h_{t-1} + b_t is an associative scan over pairs (a, b). Only the states
at the start of each chunk of T tokens are kept; the backward pass scans each chunk again.

Dimensions: L length, W channels, N state size padded to a power of two; tiles (T, C, N).
"""
# mypy: disable-error-code="no-untyped-def, index"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.selective_scan import reference
from recall_bench.kernels.triton_support import (
    differentiable,
    needs_gradient,
    rows_contiguous,
    unavailable_for,
)

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _combine(a1, b1, a2, b2):
    return a1 * a2, a2 * b1 + b2


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), accurate where exp(x) is small (Kahan's log1p)."""
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    u = 1.0 + e
    tail = tl.where(u == 1.0, e, tl.log(u) * (e / tl.where(u == 1.0, 1.0, u - 1.0)))
    return tl.maximum(x, 0.0) + tail


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def _load(x, t, c, L, W, stride):
    """x (L, W) at times t and channels c, zeros outside: (T, C) float32."""
    inside = ((t >= 0) & (t < L))[:, None] & (c < W)[None, :]
    return tl.load(x + t.to(tl.int64)[:, None] * stride + c[None, :], mask=inside, other=0.0).to(
        tl.float32
    )


@triton.jit
def _store(x, value, t, c, L, W, stride):
    inside = (t < L)[:, None] & (c < W)[None, :]
    offset = t.to(tl.int64)[:, None] * stride + c[None, :]
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _step_size(raw, bias, t, L, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr):
    """delta, and its derivative by the raw value: (T, C) each; 0 outside the sequence."""
    if BIAS:
        raw += bias[None, :]
    delta = raw
    slope = tl.full(raw.shape, 1.0, tl.float32)
    if SOFTPLUS:
        delta = _softplus(raw)
        slope = _sigmoid(raw)
    return tl.where((t < L)[:, None], delta, 0.0), slope


@triton.jit
def _forward_kernel(
    u, delta, A, B, C, D, z, bias, h0, y, h_last, starts,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, y_b, y_t, L, W, n_state, chunks,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    INITIAL: tl.constexpr, KEEP: tl.constexpr,
    T_TILE: tl.constexpr, C_TILE: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * C_TILE + tl.arange(0, C_TILE)
    n = tl.arange(0, N)
    u += b * u_b
    delta += b * delta_b
    B += b * B_b
    C += b * C_b
    z += b * z_b
    y += b * y_b
    inside = (c < W)[:, None] & (n < n_state)[None, :]
    state = c[:, None] * n_state + n[None, :]
    rate = tl.load(A + state, mask=inside, other=0.0).to(tl.float32) * LOG2_E  # (C, N)
    skip = tl.load(D + c, mask=c < W, other=0.0).to(tl.float32) if SKIP else 0.0
    shift = tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32) if BIAS else 0.0
    h = tl.zeros((C_TILE, N), tl.float32)
    if INITIAL:
        h += tl.load(h0 + b * W * n_state + state, mask=inside, other=0.0)
    first = (tl.arange(0, T_TILE) == 0)[:, None, None]
    last = (tl.arange(0, T_TILE) == T_TILE - 1)[:, None, None]
    for i in range(0, chunks):
        if KEEP:
            tl.store(starts + (b * chunks + i) * W * n_state + state, h, mask=inside)
        t = i * T_TILE + tl.arange(0, T_TILE)
        x = _load(u, t, c, L, W, u_t)
        step, _ = _step_size(_load(delta, t, c, L, W, delta_t), shift, t, L, BIAS, SOFTPLUS)
        B_tile = _load(B, t, n, L, n_state, B_t)
        C_tile = _load(C, t, n, L, n_state, C_t)
        a = tl.exp2(step[:, :, None] * rate[None, :, :])  # (T, C, N)
        added = (step * x)[:, :, None] * B_tile[:, None, :]
        added = tl.where(first, added + a * h[None, :, :], added)
        _, H = tl.associative_scan((a, added), 0, _combine)
        out = tl.sum(H * C_tile[:, None, :], 2)
        if SKIP:
            out += skip[None, :] * x
        if GATE:
            gate = _load(z, t, c, L, W, z_t)
            out *= gate * _sigmoid(gate)
        _store(y, out, t, c, L, W, y_t)
        h = tl.sum(tl.where(last, H, 0.0), 0)
    tl.store(h_last + b * W * n_state + state, h, mask=inside)


@triton.jit
def _backward_kernel(
    u, delta, A, B, C, D, z, bias, starts, dy, dh_last,
    du, d_delta, dA, dB, dC, dD, dz, dh0,
    u_b, u_t, delta_b, delta_t, B_b, B_t, C_b, C_t, z_b, z_t, dy_b, dy_t,
    L, W, n_state, chunks,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    T_TILE: tl.constexpr, C_TILE: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Chunks in reverse; g_t = C_t dy_t + a_{t+1} g_{t+1} is the gradient of h_t.

    dA (batch, W, N) and dD (batch, W) are to be summed over the batch, dB and dC
    (channel blocks, batch, L, N) over the blocks. du, d_delta, dz are contiguous.
    """
    b = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    c = block * C_TILE + tl.arange(0, C_TILE)
    n = tl.arange(0, N)
    u += b * u_b
    delta += b * delta_b
    B += b * B_b
    C += b * C_b
    z += b * z_b
    dy += b * dy_b
    du += b * L * W
    d_delta += b * L * W
    dz += b * L * W
    part = (block * tl.num_programs(0) + b) * L * n_state
    inside = (c < W)[:, None] & (n < n_state)[None, :]
    state = c[:, None] * n_state + n[None, :]
    rate = tl.load(A + state, mask=inside, other=0.0).to(tl.float32)  # (C, N)
    skip = tl.load(D + c, mask=c < W, other=0.0).to(tl.float32) if SKIP else 0.0
    shift = tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32) if BIAS else 0.0
    carry = tl.load(dh_last + b * W * n_state + state, mask=inside, other=0.0)
    dA_sum = tl.zeros((C_TILE, N), tl.float32)
    dD_sum = tl.zeros((C_TILE,), tl.float32)
    first = (tl.arange(0, T_TILE) == 0)[:, None, None]
    last = (tl.arange(0, T_TILE) == T_TILE - 1)[:, None, None]
    for i in range(0, chunks):
        chunk = chunks - 1 - i
        t = chunk * T_TILE + tl.arange(0, T_TILE)
        x = _load(u, t, c, L, W, u_t)
        raw = _load(delta, t, c, L, W, delta_t)
        step, slope = _step_size(raw, shift, t, L, BIAS, SOFTPLUS)
        next_raw = _load(delta, t + 1, c, L, W, delta_t)
        next_step, _ = _step_size(next_raw, shift, t + 1, L, BIAS, SOFTPLUS)
        B_tile = _load(B, t, n, L, n_state, B_t)
        C_tile = _load(C, t, n, L, n_state, C_t)
        dout = _load(dy, t, c, L, W, dy_t)
        start = tl.load(starts + (b * chunks + chunk) * W * n_state + state, mask=inside, other=0.0)
        a = tl.exp2(step[:, :, None] * (rate * LOG2_E)[None, :, :])  # (T, C, N)
        added = (step * x)[:, :, None] * B_tile[:, None, :]
        _, H = tl.associative_scan(
            (a, tl.where(first, added + a * start[None, :, :], added)), 0, _combine
        )
        if GATE:
            gate = _load(z, t, c, L, W, z_t)
            half = _sigmoid(gate)
            out = tl.sum(H * C_tile[:, None, :], 2)
            if SKIP:
                out += skip[None, :] * x
            _store(dz, dout * out * half * (1.0 + gate * (1.0 - half)), t, c, L, W, W)
            dout *= gate * half
        _store(dC + part, tl.sum(dout[:, :, None] * H, 1), t, n, L, n_state, n_state)
        a_next = tl.exp2(next_step[:, :, None] * (rate * LOG2_E)[None, :, :])
        own = dout[:, :, None] * C_tile[:, None, :]
        own = tl.where(last, own + a_next * carry[None, :, :], own)
        _, G = tl.associative_scan((a_next, own), 0, _combine, reverse=True)
        _store(dB + part, tl.sum((step * x)[:, :, None] * G, 1), t, n, L, n_state, n_state)
        carry = tl.sum(tl.where(first, G, 0.0), 0)
        d_added = tl.sum(G * B_tile[:, None, :], 2)  # of delta_t u_t
        d_exponent = G * (H - added)  # of delta_t A: G times a_t h_{t-1}
        dA_sum += tl.sum(d_exponent * step[:, :, None], 0)
        dx = d_added * step
        if SKIP:
            dx += dout * skip[None, :]
            dD_sum += tl.sum(dout * x, 0)
        _store(du, dx, t, c, L, W, W)
        d_step = d_added * x + tl.sum(d_exponent * rate[None, :, :], 2)
        _store(d_delta, d_step * slope, t, c, L, W, W)
    t = tl.arange(0, 1)
    step, _ = _step_size(_load(delta, t, c, L, W, delta_t), shift, t, L, BIAS, SOFTPLUS)
    a_first = tl.exp2(tl.sum(step, 0)[:, None] * (rate * LOG2_E))
    tl.store(dh0 + b * W * n_state + state, carry * a_first, mask=inside)
    tl.store(dA + b * W * n_state + state, dA_sum, mask=inside)
    if SKIP:
        tl.store(dD + b * W + c, dD_sum, mask=c < W)


@triton.jit
def _step_kernel(
    u, delta, A, B, C, D, z, bias, h, y, new_h, u_b, delta_b, B_b, C_b, z_b, W, n_state,
    SKIP: tl.constexpr, GATE: tl.constexpr, BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    C_TILE: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * C_TILE + tl.arange(0, C_TILE)
    n = tl.arange(0, N)
    inside = (c < W)[:, None] & (n < n_state)[None, :]
    state = c[:, None] * n_state + n[None, :]
    rate = tl.load(A + state, mask=inside, other=0.0).to(tl.float32) * LOG2_E
    x = tl.load(u + b * u_b + c, mask=c < W, other=0.0).to(tl.float32)
    step = tl.load(delta + b * delta_b + c, mask=c < W, other=0.0).to(tl.float32)
    B_n = tl.load(B + b * B_b + n, mask=n < n_state, other=0.0).to(tl.float32)
    C_n = tl.load(C + b * C_b + n, mask=n < n_state, other=0.0).to(tl.float32)
    if BIAS:
        step += tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32)
    if SOFTPLUS:
        step = _softplus(step)
    old = tl.load(h + b * W * n_state + state, mask=inside, other=0.0)
    new = tl.exp2(step[:, None] * rate) * old + (step * x)[:, None] * B_n[None, :]
    tl.store(new_h + b * W * n_state + state, new, mask=inside)
    out = tl.sum(new * C_n[None, :], 1)
    if SKIP:
        out += tl.load(D + c, mask=c < W, other=0.0).to(tl.float32) * x
    if GATE:
        gate = tl.load(z + b * z_b + c, mask=c < W, other=0.0).to(tl.float32)
        out *= gate * _sigmoid(gate)
    tl.store(y + b * W + c, out.to(y.dtype.element_ty), mask=c < W)


T_TILE = 16
FORWARD_CHANNELS = 16
BACKWARD_CHANNELS = 32


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on a u like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.selective_scan.selective_scan`."""
    inputs = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    y, state, _ = _scan(*inputs, delta_softplus, needs_gradient(*inputs))
    return (y, state) if return_state else y


def selective_scan_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.selective_scan.selective_scan_step`."""
    if needs_gradient(u, delta, A, B, C, D, z, delta_bias, state):
        return reference.selective_scan_step(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, state
        )
    return _step(u, delta, A, B, C, D, z, delta_bias, delta_softplus, state)


def _flags(D: Tensor | None, z: Tensor | None, bias: Tensor | None, softplus: bool) -> Any:
    return {
        "SKIP": D is not None,
        "GATE": z is not None,
        "BIAS": bias is not None,
        "SOFTPLUS": softplus,
    }


def _strides(*tensors: Tensor | None) -> list[int]:
    """Strides of the leading dimensions of (batch, [length,] channels) tensors, 0 for None."""
    rank = max(x.dim() for x in tensors if x is not None)
    return [s for x in tensors for s in (x.stride()[:-1] if x is not None else (0,) * (rank - 1))]


def _tiles(u: Tensor, A: Tensor, channels: int) -> tuple[int, int, int]:
    """Chunks, channels of a tile, N."""
    N = triton.next_power_of_2(A.shape[1])
    return triton.cdiv(u.shape[1], T_TILE), max(1, channels * 16 // max(16, N)), N


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """y, the last state, and with ``keep`` the states at the chunks' starts."""
    y, state, starts = _scan_shapes(
        u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep
    )
    if y.numel() == 0:
        state.zero_() if initial_state is None else state.copy_(initial_state)
        return y, state, starts
    u, delta, B, C = (rows_contiguous(x) for x in (u, delta, B, C))
    z = None if z is None else rows_contiguous(z)
    h0 = None if initial_state is None else initial_state.float().contiguous()
    chunks, channels, N = _tiles(u, A, FORWARD_CHANNELS)
    _forward_kernel[u.shape[0], triton.cdiv(u.shape[2], channels)](
        u, delta, A.contiguous(), B, C, D, u if z is None else z, delta_bias, h0, y, state, starts,
        *_strides(u, delta, B, C, z, y), u.shape[1], u.shape[2], A.shape[1], chunks,
        **_flags(D, z, delta_bias, delta_softplus), INITIAL=h0 is not None, KEEP=keep,
        T_TILE=T_TILE, C_TILE=channels, N=N, num_warps=4,
    )  # fmt: skip
    return y, state, starts


def _scan_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    initial_state: Tensor | None,
    delta_softplus: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, length = u.shape[:2]
    chunks = (length + T_TILE - 1) // T_TILE if keep else 0
    y = u.new_empty(u.shape)
    state = u.new_empty(batch, *A.shape, dtype=torch.float32)
    return y, state, u.new_empty(batch, chunks, *A.shape, dtype=torch.float32)


@torch.library.custom_op("recall_bench::selective_scan_backward", mutates_args=())
def _scan_backward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    starts: Tensor,
    dy: Tensor,
    dh_last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D, z, delta_bias and the initial state."""
    shapes = _scan_backward_shapes(
        u, delta, A, B, C, D, z, delta_bias, delta_softplus, starts, dy, dh_last
    )
    if u.numel() == 0:
        gradients = [x.zero_() for x in shapes]
        return (*gradients[:-1], dh_last.clone())
    batch, length, width = u.shape
    chunks, channels, N = _tiles(u, A, BACKWARD_CHANNELS)
    blocks = triton.cdiv(width, channels)
    f32: dict[str, Any] = {"dtype": torch.float32, "device": u.device}
    du, d_delta, dz = (torch.empty(u.shape, dtype=x.dtype, device=u.device) for x in (
        u, delta, u if z is None else z))  # fmt: skip
    dA, dh0 = (torch.empty(batch, *A.shape, **f32) for _ in range(2))
    dB, dC = (torch.empty(blocks, *B.shape, **f32) for _ in range(2))
    dD = torch.empty(batch, width, **f32)
    u, delta, B, C, dy = (rows_contiguous(x) for x in (u, delta, B, C, dy))
    z = None if z is None else rows_contiguous(z)
    _backward_kernel[batch, blocks](
        u, delta, A.contiguous(), B, C, D, u if z is None else z, delta_bias,
        starts, dy, dh_last.contiguous(), du, d_delta, dA, dB, dC, dD, dz, dh0,
        *_strides(u, delta, B, C, z, dy), length, width, A.shape[1], chunks,
        **_flags(D, z, delta_bias, delta_softplus),
        T_TILE=T_TILE, C_TILE=channels, N=N, num_warps=8,
    )  # fmt: skip
    none = u.new_empty(0)
    return (
        du,
        d_delta,
        dA.sum(0).to(A.dtype),
        dB.sum(0).to(B.dtype),
        dC.sum(0).to(C.dtype),
        none if D is None else dD.sum(0).to(D.dtype),
        none.clone() if z is None else dz,
        none.clone() if delta_bias is None else d_delta.sum((0, 1)).to(delta_bias.dtype),
        dh0,
    )


@_scan_backward.register_fake
def _scan_backward_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    starts: Tensor,
    dy: Tensor,
    dh_last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    optional = (u.new_empty(0) if x is None else x.new_empty(x.shape) for x in (D, z, delta_bias))
    required = (x.new_empty(x.shape) for x in (u, delta, A, B, C))
    return (*required, *optional, dh_last.new_empty(dh_last.shape))  # type: ignore[return-value]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.softplus, _ = inputs
    ctx.has_initial = tensors[8] is not None
    ctx.save_for_backward(*tensors[:8], output[2])


def _differentiate(
    ctx: Any, dy: Tensor | None, dh: Tensor | None, _: Any
) -> tuple[Tensor | None, ...]:
    *tensors, starts = ctx.saved_tensors
    u, A = tensors[0], tensors[2]
    dy = torch.zeros_like(u) if dy is None else dy
    dh = starts.new_zeros(u.shape[0], *A.shape) if dh is None else dh
    gradients = _scan_backward(*tensors, ctx.softplus, starts, dy, dh)
    given = (*(x is not None for x in tensors), ctx.has_initial)
    return *(g if wanted else None for g, wanted in zip(gradients, given, strict=True)), None, None


_scan_op = torch.library.custom_op("recall_bench::selective_scan", _forward, mutates_args=())
_scan_op.register_fake(_scan_shapes)
_scan_op.register_autograd(_differentiate, setup_context=_save)
_scan = differentiable(_scan_op, _forward, _save, _differentiate)


@torch.library.custom_op("recall_bench::selective_scan_step", mutates_args=())
def _step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    y, new = _step_shapes(u, delta, A, B, C, D, z, delta_bias, delta_softplus, state)
    if y.numel() == 0:
        return y, new
    u, delta, B, C = (rows_contiguous(x) for x in (u, delta, B, C))
    z = None if z is None else rows_contiguous(z)
    N = triton.next_power_of_2(A.shape[1])
    channels = max(1, 1024 // N)
    _step_kernel[u.shape[0], triton.cdiv(u.shape[1], channels)](
        u, delta, A.contiguous(), B, C, D, z, delta_bias, state.float().contiguous(), y, new,
        *_strides(u, delta, B, C, z), u.shape[1], A.shape[1],
        **_flags(D, z, delta_bias, delta_softplus), C_TILE=channels, N=N, num_warps=4,
    )  # fmt: skip
    return y, new


@_step.register_fake
def _step_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), u.new_empty(state.shape, dtype=torch.float32)
