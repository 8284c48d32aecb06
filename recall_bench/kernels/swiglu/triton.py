"""The gate of SwiGLU in Triton: each direction reads and writes once, and computes in float32.

Dimensions: M rows of H gates and H values; tiles of R rows and C columns. The backward pass
recomputes the sigmoid from the gates, which it reads anyway.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import as_rows, differentiable, unavailable_for
from recall_bench.kernels.plumbing.triton_tiles import load_at, sigmoid, store_at


@triton.jit
def _place(M, H, R: tl.constexpr, C: tl.constexpr):
    """A program's rows (R, 1), its columns (1, C), and which of them exist (R, C)."""
    rows = (tl.program_id(0) * R + tl.arange(0, R))[:, None]
    columns = (tl.program_id(1) * C + tl.arange(0, C))[None, :]
    return rows.to(tl.int64), columns, (rows < M) & (columns < H)


@triton.jit
def _forward_kernel(x, y, x_m, M, H, R: tl.constexpr, C: tl.constexpr):
    rows, columns, inside = _place(M, H, R, C)
    gate = load_at(x, rows * x_m + columns, inside)
    value = load_at(x + H, rows * x_m + columns, inside)
    store_at(y, rows * H + columns, gate * sigmoid(gate) * value, inside)


@triton.jit
def _backward_kernel(x, dy, dx, x_m, dy_m, M, H, R: tl.constexpr, C: tl.constexpr):
    rows, columns, inside = _place(M, H, R, C)
    gate = load_at(x, rows * x_m + columns, inside)
    value = load_at(x + H, rows * x_m + columns, inside)
    slope = load_at(dy, rows * dy_m + columns, inside)
    share = sigmoid(gate)
    d_gate = slope * value * share * (1.0 + gate * (1.0 - share))
    offset = rows * (2 * H) + columns
    store_at(dx, offset, d_gate, inside)
    store_at(dx + H, offset, slope * gate * share, inside)


TILE = 2048  # elements
COLUMNS = 1024


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on an x like ``tensor``, or None."""
    return unavailable_for(tensor)


def swiglu(x: Tensor) -> Tensor:
    """See `recall_bench.kernels.swiglu.swiglu`."""
    y: Tensor = _swiglu(x)
    return y


def _launch_on(M: int, H: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid, and the programs' tile sizes."""
    C = min(triton.next_power_of_2(H), COLUMNS)
    R = TILE // C
    return (triton.cdiv(M, R), triton.cdiv(H, C)), {"R": R, "C": C, "num_warps": 4}


def _forward(x: Tensor) -> Tensor:
    y = _shapes(x)
    if y.numel() == 0:
        return y
    rows, H = as_rows(x), y.shape[-1]
    grid, tiles = _launch_on(len(rows), H)
    _forward_kernel[grid](rows, y, rows.stride(0), len(rows), H, **tiles)
    return y


def _shapes(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


@torch.library.custom_op("recall_bench::swiglu_backward", mutates_args=())
def _backward(x: Tensor, dy: Tensor) -> Tensor:
    dx = _backward_shapes(x, dy)
    if dx.numel() == 0:
        return dx
    rows, slopes = as_rows(x), as_rows(dy)
    M, H = slopes.shape
    grid, tiles = _launch_on(M, H)
    _backward_kernel[grid](rows, slopes, dx, rows.stride(0), slopes.stride(0), M, H, **tiles)
    return dx


@_backward.register_fake
def _backward_shapes(x: Tensor, dy: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor]:
    return (_backward(*ctx.saved_tensors, dy),)


_swiglu_op = torch.library.custom_op("recall_bench::swiglu", _forward, mutates_args=())
_swiglu_op.register_fake(_shapes)
_swiglu_op.register_autograd(_differentiate, setup_context=_save)
_swiglu = differentiable(_swiglu_op, _forward, _save, _differentiate)
