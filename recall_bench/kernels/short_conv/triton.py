"""Short depthwise causal convolution in Triton, with bias, silu, gate and residual in one pass.

Dimensions: L length, W width, K kernel size; tiles (T, C) of T tokens and C = 64 channels, two a
thread. A thread has all T tokens of its channels in registers, so that the K shifted products of a
token cost no memory access.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_sums import column_sum
from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    rows_contiguous,
    unavailable_for,
)
from recall_bench.kernels.plumbing.triton_tiles import sigmoid
from recall_bench.kernels.short_conv import reference
from recall_bench.kernels.short_conv.reference import Activation


@triton.jit
def _token(x, k: tl.constexpr):
    """x[k:k+1] of (T, C); costs nothing, since every thread has all tokens in registers."""
    bits = x.to(tl.int32, bitcast=True)
    bits = tl.where((tl.arange(0, x.shape[0]) == k)[:, None], bits, 0)
    return tl.sum(bits, 0, keep_dims=True).to(tl.float32, bitcast=True)


@triton.jit
def _load(x, t, c, L, W, stride, zero):
    """x (L, W) at times t and channels c, zeros outside: float32.

    The compiler knows only that 2 ``zero`` is even, so it makes the accesses two channels wide and
    no wider.
    """
    inside = ((t >= 0) & (t < L))[:, None] & (c < W)[None, :]
    offset = t.to(tl.int64)[:, None] * stride + c[None, :] + 2 * zero
    return tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(x, value, t, c, L, W, zero):
    inside = (t < L)[:, None] & (c < W)[None, :]
    offset = t.to(tl.int64)[:, None] * W + c[None, :] + 2 * zero
    tl.store(x + offset, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _earlier(
    tile, x, initial, start, i: tl.constexpr, c, L, W, stride, zero,
    K: tl.constexpr, INITIAL: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """The inputs i tokens before those of the tile, which begins at ``start``: (T, C)."""
    rows = tl.arange(0, T)[:, None]
    shifted = tile
    for k in tl.static_range(T):
        if k >= i:
            shifted = tl.where(rows == k, _token(tile, k - i), shifted)
        else:
            t = start + k - i + tl.arange(0, 1)
            row = _load(x, t, c, L, W, stride, zero)
            if INITIAL:
                before = ((t < 0) & (t > -K))[:, None] & (c < W)[None, :]
                offset = (t + K - 1)[:, None] * W + c[None, :] + 2 * zero
                row += tl.load(initial + offset, mask=before, other=0.0).to(tl.float32)
            shifted = tl.where(rows == k, row, shifted)
    return shifted


@triton.jit
def _later(tile, following, j: tl.constexpr, T: tl.constexpr):
    """The rows j tokens after those of the tile; the last ones are in the next tile: (T, C)."""
    rows = tl.arange(0, T)[:, None]
    shifted = tile
    for k in tl.static_range(T):
        if k + j < T:
            shifted = tl.where(rows == k, _token(tile, k + j), shifted)
        else:
            shifted = tl.where(rows == k, _token(following, k + j - T), shifted)
    return shifted


@triton.jit
def _tap(weight, i, c, W, K: tl.constexpr):
    """The weights of the input i tokens ago: (1, C)."""
    offset = c * K + (K - 1 - i)
    return tl.load(weight + offset, mask=c < W, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _convolve(
    tile, x, initial, weight, bias, start, c, L, W, stride, zero,
    K: tl.constexpr, INITIAL: tl.constexpr, BIAS: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """The convolution before its activation: (T, C)."""
    total = tl.zeros(tile.shape, tl.float32)
    if BIAS:
        total += tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32)[None, :]
    for i in tl.static_range(K):
        total += _tap(weight, i, c, W, K) * _earlier(
            tile, x, initial, start, i, c, L, W, stride, zero, K, INITIAL, T
        )
    return total


@triton.jit(do_not_specialize=["L", "zero"])
def _forward_kernel(
    x, weight, bias, initial, gate, y, x_b, x_t, gate_b, gate_t, L, W, zero,
    K: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr,
    GATE: tl.constexpr, RESIDUAL: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * T
    t = start + tl.arange(0, T)
    c = tl.program_id(2) * C + tl.arange(0, C)
    x += b * x_b
    initial += b * (K - 1) * W
    tile = _load(x, t, c, L, W, x_t, zero)
    out = _convolve(tile, x, initial, weight, bias, start, c, L, W, x_t, zero, K, INITIAL, BIAS, T)
    if SILU:
        out *= sigmoid(out)
    if GATE:
        out *= _load(gate + b * gate_b, t, c, L, W, gate_t, zero)
    if RESIDUAL:
        out += tile
    _store(y + b * L * W, out, t, c, L, W, zero)


@triton.jit
def _slopes(
    x, weight, bias, initial, gate, dy, d_gate, start, c, L, W, x_t, gate_t, dy_t, zero,
    K: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr,
    GATE: tl.constexpr, STORE: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """x, dy and the gradient of the convolution before its activation, (T, C) from time ``start``.

    It also writes the gate's gradient.
    """
    t = start + tl.arange(0, T)
    tile = _load(x, t, c, L, W, x_t, zero)
    dout = _load(dy, t, c, L, W, dy_t, zero)
    slope = dout
    if GATE:
        slope *= _load(gate, t, c, L, W, gate_t, zero)
    if SILU or (GATE and STORE):
        out = _convolve(
            tile, x, initial, weight, bias, start, c, L, W, x_t, zero, K, INITIAL, BIAS, T
        )
        active = out
        if SILU:
            half = sigmoid(out)
            active = out * half
            slope *= half * (1.0 + out * (1.0 - half))
        if GATE and STORE:
            _store(d_gate, dout * active, t, c, L, W, zero)
    return tile, dout, slope


@triton.jit(do_not_specialize=["L", "chunks", "zero"])
def _backward_kernel(
    x, weight, bias, initial, gate, dy, dx, d_gate, d_initial, parts,
    x_b, x_t, gate_b, gate_t, dy_b, dy_t, L, W, chunks, zero,
    K: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr,
    GATE: tl.constexpr, RESIDUAL: tl.constexpr, T: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """A segment of ``chunks`` chunks, in reverse: an input affects K outputs from its own time on.

    It writes its parts of d_weight, transposed, and d_bias to ``parts``, which is
    (batch, segments, K + 1, W).
    """
    b = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * chunks * T
    c = tl.program_id(2) * C + tl.arange(0, C)
    rows = tl.arange(0, T)[:, None]
    x += b * x_b
    gate += b * gate_b
    dy += b * dy_b
    dx += b * L * W
    d_gate += b * L * W
    initial += b * (K - 1) * W
    d_initial += b * (K - 1) * W
    parts += (b * tl.num_programs(1) + tl.program_id(1)) * (K + 1) * W
    _, _, following = _slopes(
        x, weight, bias, initial, gate, dy, d_gate, first + chunks * T, c, L, W,
        x_t, gate_t, dy_t, zero, K, BIAS, SILU, INITIAL, GATE, False, T,
    )  # fmt: skip
    d_taps = tl.zeros((T, C), tl.float32)  # the last K of T rows
    d_bias = tl.zeros((1, C), tl.float32)
    for i in range(chunks):
        start = first + (chunks - 1 - i) * T
        tile, dout, slope = _slopes(
            x, weight, bias, initial, gate, dy, d_gate, start, c, L, W,
            x_t, gate_t, dy_t, zero, K, BIAS, SILU, INITIAL, GATE, True, T,
        )  # fmt: skip
        total = tl.zeros((T, C), tl.float32)
        for j in tl.static_range(K):
            total += _tap(weight, j, c, W, K) * _later(slope, following, j, T)
            shifted = _earlier(tile, x, initial, start, j, c, L, W, x_t, zero, K, INITIAL, T)
            d_tap = tl.sum(slope * shifted, 0, keep_dims=True)
            d_taps += tl.where(rows == T - 1 - j, d_tap, 0.0)
        if BIAS:
            d_bias += tl.sum(slope, 0, keep_dims=True)
        if RESIDUAL:
            total += dout
        _store(dx, total, start + tl.arange(0, T), c, L, W, zero)
        following = slope
    offset = (rows - (T - K)) * W + c[None, :] + 2 * zero
    tl.store(parts + offset, d_taps, mask=(rows >= T - K) & (c < W)[None, :])
    tl.store(parts + K * W + c[None, :] + 2 * zero, d_bias, mask=(c < W)[None, :])
    if INITIAL:
        if first == 0:
            for m in tl.static_range(K - 1):  # the input at time m - (K - 1)
                gradient = tl.zeros((1, C), tl.float32)
                for j in tl.static_range(K - 1 - m, K):
                    gradient += _tap(weight, j, c, W, K) * _token(following, m - (K - 1) + j)
                value = gradient.to(d_initial.dtype.element_ty)
                tl.store(d_initial + m * W + c[None, :] + 2 * zero, value, mask=(c < W)[None, :])


KERNEL_LIMIT = 8  # compiling longer ones takes minutes, and the reference is as fast
CHANNELS = 64
T_TILE = 8
PROGRAMS = 2112  # of one warp, sixteen for each multiprocessor of a large GPU
CHUNKS = 2, 16
"""The fewest and the most chunks of one program of the backward pass; it also reads the next."""


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
    gate: Tensor | None = None,
    residual: bool = False,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv`."""
    if weight.shape[1] > KERNEL_LIMIT:
        return reference.short_conv(
            x, weight, bias, activation, gate, residual, initial_state, return_state
        )
    y = _convolution(x, weight, bias, initial_state, gate, activation == "silu", residual)
    if not return_state:
        return y
    return y, _last_inputs(x, initial_state, weight.shape[1] - 1)


def _last_inputs(x: Tensor, initial: Tensor | None, count: int) -> Tensor:
    """The last ``count`` of the initial inputs and those of x: (batch, count, width)."""
    length = x.shape[1]
    if length >= count:
        return x[:, length - count :].clone()
    if initial is None:
        initial = x.new_zeros(x.shape[0], count, x.shape[2])
    return torch.cat([initial[:, length:].to(x.dtype), x], 1)


def _constants(
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    gate: Tensor | None,
    silu: bool,
    residual: bool,
) -> dict[str, Any]:
    return {
        "K": weight.shape[1],
        "BIAS": bias is not None,
        "SILU": silu,
        "INITIAL": initial is not None,
        "GATE": gate is not None,
        "RESIDUAL": residual,
        "T": T_TILE,
        "C": CHANNELS,
        "num_warps": 1,  # several warps would split the tokens of narrow inputs
    }


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    gate: Tensor | None,
    silu: bool,
    residual: bool,
) -> Tensor:
    y = _convolution_shapes(x, weight, bias, initial, gate, silu, residual)
    if y.numel() == 0:
        return y
    x = rows_contiguous(x)
    gates = x if gate is None else rows_contiguous(gate)
    constants = _constants(weight, bias, initial, gate, silu, residual)
    B, L, W = x.shape
    _forward_kernel[B, triton.cdiv(L, constants["T"]), triton.cdiv(W, CHANNELS)](
        x, weight.contiguous(), bias, x if initial is None else initial.contiguous(), gates, y,
        *x.stride()[:2], *gates.stride()[:2], L, W, 0, **constants,
    )  # fmt: skip
    return y


def _chunks(B: int, L: int, W: int) -> int:
    """The number of chunks that a program of the backward pass goes through."""
    rows = B * triton.cdiv(W, CHANNELS)
    fewest, most = CHUNKS
    filling = triton.cdiv(L, T_TILE) * rows // PROGRAMS
    return min(max(filling, fewest), most, triton.cdiv(L, T_TILE))


def _convolution_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    gate: Tensor | None,
    silu: bool,
    residual: bool,
) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("recall_bench::short_conv_backward", mutates_args=())
def _convolution_backward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    gate: Tensor | None,
    silu: bool,
    residual: bool,
    dy: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, of the initial inputs and of the gate (empty if there is none), and parts of
    the gradients of the weight, transposed, and in the last row the bias (parts, K + 1, W)."""
    outputs = _convolution_backward_shapes(x, weight, bias, initial, gate, silu, residual, dy)
    dx, d_initial, d_gate, parts = outputs
    if x.numel() == 0:
        for gradient in outputs:
            gradient.zero_()
        return outputs
    x, dy = rows_contiguous(x), rows_contiguous(dy)
    gates = x if gate is None else rows_contiguous(gate)
    constants = _constants(weight, bias, initial, gate, silu, residual)
    B, L, W = x.shape
    chunks = _chunks(B, L, W)
    _backward_kernel[B, len(parts) // B, triton.cdiv(W, CHANNELS)](
        x, weight.contiguous(), bias, x if initial is None else initial.contiguous(), gates, dy,
        dx, d_gate, d_initial, parts,
        *x.stride()[:2], *gates.stride()[:2], *dy.stride()[:2], L, W, chunks, 0, **constants,
    )  # fmt: skip
    return outputs


@_convolution_backward.register_fake
def _convolution_backward_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    gate: Tensor | None,
    silu: bool,
    residual: bool,
    dy: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def empty(like: Tensor | None) -> Tensor:
        if like is None:
            return torch.empty(0, device=x.device)
        return torch.empty(like.shape, dtype=like.dtype, device=x.device)

    B, L, W = x.shape
    count = B * triton.cdiv(L, _chunks(B, L, W) * T_TILE) if x.numel() else 0
    parts = torch.empty(count, weight.shape[1] + 1, W, dtype=torch.float32, device=x.device)
    return empty(x), empty(initial), empty(gate), parts


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu, ctx.residual = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    _, weight, bias, initial, gate = tensors = ctx.saved_tensors
    dx, d_initial, d_gate, parts = _convolution_backward(*tensors, ctx.silu, ctx.residual, dy)

    summed = column_sum(parts.flatten(1)).view(parts.shape[1:])
    return (
        dx,
        summed[:-1].t().to(weight.dtype),
        None if bias is None else summed[-1].to(bias.dtype),
        None if initial is None else d_initial,
        None if gate is None else d_gate,
        None,
        None,
    )


_convolution_op = torch.library.custom_op("recall_bench::short_conv", _forward, mutates_args=())
_convolution_op.register_fake(_convolution_shapes)
_convolution_op.register_autograd(_differentiate, setup_context=_save)
_convolution = differentiable(_convolution_op, _forward, _save, _differentiate)
