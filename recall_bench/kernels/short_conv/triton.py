"""Short depthwise causal convolution in Triton, with bias and gate in the same pass.

Dimensions: L length, W width, K kernel size; tiles of T tokens and C channels. Its K shifted
reads of a tile come from the cache.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.short_conv import reference
from recall_bench.kernels.short_conv.reference import Activation
from recall_bench.kernels.triton_support import (
    differentiable,
    rows_contiguous,
    unavailable_for,
)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(-x * 1.4426950408889634))


@triton.jit
def _input(x, initial, t, c, L, W, stride, K: tl.constexpr, INITIAL: tl.constexpr):
    """x (L, W) at times t >= 1-K and channels c, after the K-1 inputs of ``initial``: float32."""
    inside = ((t >= 0) & (t < L))[:, None] & (c < W)[None, :]
    value = tl.load(x + t.to(tl.int64)[:, None] * stride + c[None, :], mask=inside, other=0.0)
    value = value.to(tl.float32)
    if INITIAL:
        before = ((t < 0) & (t > -K))[:, None] & (c < W)[None, :]
        offset = (t + K - 1)[:, None] * W + c[None, :]
        value += tl.load(initial + offset, mask=before, other=0.0).to(tl.float32)
    return value


@triton.jit
def _convolve(
    x, initial, weight, bias, t, c, L, W, stride,
    K: tl.constexpr, INITIAL: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    """The convolution before its activation: (T, C)."""
    total = tl.zeros((t.shape[0], c.shape[0]), tl.float32)
    if BIAS:
        total += tl.load(bias + c, mask=c < W, other=0.0).to(tl.float32)[None, :]
    for i in tl.static_range(K):
        tap = tl.load(weight + c * K + (K - 1 - i), mask=c < W, other=0.0).to(tl.float32)
        total += tap[None, :] * _input(x, initial, t - i, c, L, W, stride, K, INITIAL)
    return total


@triton.jit
def _forward_kernel(
    x, weight, bias, initial, y, x_b, x_t, L, W,
    K: tl.constexpr, BIAS: tl.constexpr, SILU: tl.constexpr, INITIAL: tl.constexpr,
    T_TILE: tl.constexpr, C_TILE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * T_TILE + tl.arange(0, T_TILE)
    c = tl.program_id(2) * C_TILE + tl.arange(0, C_TILE)
    initial += b * (K - 1) * W
    out = _convolve(x + b * x_b, initial, weight, bias, t, c, L, W, x_t, K, INITIAL, BIAS)
    if SILU:
        out *= _sigmoid(out)
    inside = (t < L)[:, None] & (c < W)[None, :]
    offset = (b * L + t.to(tl.int64))[:, None] * W + c[None, :]
    tl.store(y + offset, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _slope_kernel(
    x, weight, bias, initial, dy, slope, x_b, x_t, dy_b, dy_t, L, W,
    K: tl.constexpr, BIAS: tl.constexpr, INITIAL: tl.constexpr,
    T_TILE: tl.constexpr, C_TILE: tl.constexpr,
):  # fmt: skip
    """The gradient before silu: dy silu'(convolution), contiguous."""
    b = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * T_TILE + tl.arange(0, T_TILE)
    c = tl.program_id(2) * C_TILE + tl.arange(0, C_TILE)
    initial += b * (K - 1) * W
    total = _convolve(x + b * x_b, initial, weight, bias, t, c, L, W, x_t, K, INITIAL, BIAS)
    half = _sigmoid(total)
    gradient = _input(dy + b * dy_b, initial, t, c, L, W, dy_t, K, False)
    gradient *= half * (1.0 + total * (1.0 - half))
    inside = (t < L)[:, None] & (c < W)[None, :]
    offset = (b * L + t.to(tl.int64))[:, None] * W + c[None, :]
    tl.store(slope + offset, gradient.to(slope.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    x, weight, initial, slope, dx, d_weight, d_bias, d_initial, x_b, x_t, slope_b, slope_t, L, W,
    K: tl.constexpr, BIAS: tl.constexpr, INITIAL: tl.constexpr,
    T_TILE: tl.constexpr, C_TILE: tl.constexpr,
):  # fmt: skip
    """dx, and this tile's part of d_weight (tiles, K, W) and d_bias (tiles, W)."""
    b = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * T_TILE + tl.arange(0, T_TILE)
    c = tl.program_id(2) * C_TILE + tl.arange(0, C_TILE)
    x += b * x_b
    slope += b * slope_b
    initial += b * (K - 1) * W
    tile = b * tl.num_programs(1) + tl.program_id(1)
    own = _input(slope, initial, t, c, L, W, slope_t, K, False)
    total = tl.zeros((T_TILE, C_TILE), tl.float32)
    for i in tl.static_range(K):
        tap = tl.load(weight + c * K + (K - 1 - i), mask=c < W, other=0.0).to(tl.float32)
        total += tap[None, :] * _input(slope, initial, t + i, c, L, W, slope_t, K, False)
        shifted = _input(x, initial, t - i, c, L, W, x_t, K, INITIAL)
        tap_gradient = tl.sum(own * shifted, 0)
        tl.store(d_weight + (tile * K + K - 1 - i) * W + c, tap_gradient, mask=c < W)
    inside = (t < L)[:, None] & (c < W)[None, :]
    offset = (b * L + t.to(tl.int64))[:, None] * W + c[None, :]
    tl.store(dx + offset, total.to(dx.dtype.element_ty), mask=inside)
    if BIAS:
        tl.store(d_bias + tile * W + c, tl.sum(own, 0), mask=c < W)
    if INITIAL:
        if tl.program_id(1) == 0:
            for j in tl.static_range(K - 1):  # the input at time j - (K - 1)
                gradient = tl.zeros((C_TILE,), tl.float32)
                for i in tl.static_range(K - 1 - j, K):
                    early_tap = tl.load(weight + c * K + (K - 1 - i), mask=c < W, other=0.0)
                    at = j - (K - 1) + i + tl.arange(0, 1)
                    early = _input(slope, initial, at, c, L, W, slope_t, K, False)
                    gradient += early_tap.to(tl.float32) * tl.sum(early, 0)
                tl.store(d_initial + (b * (K - 1) + j) * W + c, gradient, mask=c < W)


KERNEL_LIMIT = 16


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on an x like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def short_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv`."""
    if weight.shape[1] > KERNEL_LIMIT:
        return reference.short_conv(x, weight, bias, activation, initial_state, return_state)
    y = _convolution(x, weight, bias, initial_state, activation == "silu")
    if not return_state:
        return y
    return y, _last_inputs(x, initial_state, weight.shape[1] - 1)


def short_conv_step(
    x: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = None,
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.short_conv.short_conv_step`."""
    y, new = short_conv(x[:, None], weight, bias, activation, state, True)
    return y[:, 0], new


def _last_inputs(x: Tensor, initial: Tensor | None, count: int) -> Tensor:
    """The last ``count`` of the initial inputs and those of x: (batch, count, width)."""
    length = x.shape[1]
    if length >= count:
        return x[:, length - count :].clone()
    if initial is None:
        initial = x.new_zeros(x.shape[0], count, x.shape[2])
    return torch.cat([initial[:, length:].to(x.dtype), x], 1)


def _tiles(x: Tensor) -> tuple[int, int]:
    C = min(64, max(16, triton.next_power_of_2(x.shape[2])))
    return min(4096 // C, max(16, triton.next_power_of_2(x.shape[1]))), C


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> Tensor:
    y = _convolution_shapes(x, weight, bias, initial, silu)
    if y.numel() == 0:
        return y
    x = rows_contiguous(x)
    T, C = _tiles(x)
    B, L, W = x.shape
    _forward_kernel[B, triton.cdiv(L, T), triton.cdiv(W, C)](
        x, weight.contiguous(), bias, x if initial is None else initial.contiguous(), y,
        *x.stride()[:2], L, W, K=weight.shape[1], BIAS=bias is not None, SILU=silu,
        INITIAL=initial is not None, T_TILE=T, C_TILE=C, num_warps=4,
    )  # fmt: skip
    return y


def _convolution_shapes(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool
) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op("recall_bench::short_conv_backward", mutates_args=())
def _convolution_backward(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and the initial inputs, the latter two empty without one."""
    dx, d_weight, d_bias, d_initial = _convolution_backward_shapes(
        x, weight, bias, initial, silu, dy
    )
    if x.numel() == 0:
        return dx, d_weight.zero_(), d_bias.zero_(), d_initial.zero_()
    x, dy = rows_contiguous(x), rows_contiguous(dy)
    T, C = _tiles(x)
    B, L, W = x.shape
    K, tiles = weight.shape[1], triton.cdiv(L, T)
    taps = x.new_empty(B * tiles, K, W, dtype=torch.float32)
    offsets = x.new_empty(B * tiles, W, dtype=torch.float32)
    grid = B, tiles, triton.cdiv(W, C)
    weight = weight.contiguous()
    before = x if initial is None else initial.contiguous()
    constants: dict[str, Any] = {
        "K": K,
        "BIAS": bias is not None,
        "INITIAL": initial is not None,
        "T_TILE": T,
        "C_TILE": C,
        "num_warps": 4,
    }
    slope = dy
    if silu:
        slope = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        _slope_kernel[grid](
            x, weight, bias, before, dy, slope, *x.stride()[:2], *dy.stride()[:2], L, W, **constants
        )
    _backward_kernel[grid](
        x, weight, before, slope, dx, taps, offsets, d_initial,
        *x.stride()[:2], *slope.stride()[:2], L, W, **constants,
    )  # fmt: skip
    d_weight = taps.sum(0).t().contiguous().to(weight.dtype)
    return dx, d_weight, d_bias if bias is None else offsets.sum(0).to(bias.dtype), d_initial


@_convolution_backward.register_fake
def _convolution_backward_shapes(
    x: Tensor, weight: Tensor, bias: Tensor | None, initial: Tensor | None, silu: bool, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d_bias = x.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    d_initial = x.new_empty(0) if initial is None else initial.new_empty(initial.shape)
    return x.new_empty(x.shape), weight.new_empty(weight.shape), d_bias, d_initial


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    gradients = _convolution_backward(*tensors, ctx.silu, dy)
    return *(None if x is None else g for x, g in zip(tensors, gradients, strict=True)), None


_convolution_op = torch.library.custom_op("recall_bench::short_conv", _forward, mutates_args=())
_convolution_op.register_fake(_convolution_shapes)
_convolution_op.register_autograd(_differentiate, setup_context=_save)
_convolution = differentiable(_convolution_op, _forward, _save, _differentiate)
