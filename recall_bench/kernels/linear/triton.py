"""A linear map with PyTorch's products, and the gradient of its bias in Triton.

That gradient sums a tall matrix by columns. PyTorch's reduction is many times slower there than
reading the matrix; here programs sum strips of it, and one more adds the strips in a fixed order.
Under autocast the gradient of a weight is summed and written in float32 at once, not cast after.

Dimensions: N rows, M columns; tiles of R rows and C columns.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.triton_support import differentiable, rows_contiguous, unavailable_for

STRIPS = 128
"""Programs that share the rows: with a few column tiles each, enough to fill a large GPU."""


@triton.jit
def _column_sum_kernel(x, sums, N, M, x_n, R: tl.constexpr, C: tl.constexpr):
    """sums[strip] (M,) = the sum of the rows of x (N, M) in every num_programs(0)-th tile."""
    strip = tl.program_id(0)
    columns = tl.program_id(1) * C + tl.arange(0, C)
    total = tl.zeros((R, C), tl.float32)
    for tile in range(strip, tl.cdiv(N, R), tl.num_programs(0)):
        rows = tile * R + tl.arange(0, R)
        inside = (rows < N)[:, None] & (columns < M)[None, :]
        offset = rows.to(tl.int64)[:, None] * x_n + columns[None, :]
        total += tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    tl.store(sums + strip * M + columns, tl.sum(total, 0), mask=columns < M)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on an x like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """See `recall_bench.kernels.linear.linear`."""
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return _linear(x, weight, bias)


def column_sum(x: Tensor) -> Tensor:
    """(N, M) -> (M,), summed in float32 and in the same order every time."""
    x = rows_contiguous(x)
    N, M = x.shape
    C = min(64, triton.next_power_of_2(M))
    R = 4096 // C
    strips = max(1, min(STRIPS, triton.cdiv(N, R)))
    sums = torch.empty(strips, M, dtype=torch.float32, device=x.device)
    grid = (strips, triton.cdiv(M, C))
    _column_sum_kernel[grid](x, sums, N, M, x.stride(0), R=R, C=C, num_warps=4)
    if strips > 1:
        parts, sums = sums, sums.new_empty(1, M)
        _column_sum_kernel[(1, grid[1])](parts, sums, strips, M, M, R=R, C=C, num_warps=4)
    return sums[0]


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    bias = None if bias is None else bias.to(x.dtype)
    return F.linear(x, weight.to(x.dtype), bias)


def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("recall_bench::linear_backward", mutates_args=())
def _backward(dy: Tensor, x: Tensor, weight: Tensor, bias: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of weight and of the bias, in float32, empty without one."""
    rows, inputs = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    dx = (rows @ weight.to(dy.dtype)).view(x.shape)
    if dy.is_cuda and dy.dtype != weight.dtype:
        d_weight = torch.mm(rows.t(), inputs, out_dtype=weight.dtype)
    else:
        d_weight = (rows.t() @ inputs).to(weight.dtype)
    return dx, d_weight, column_sum(rows) if bias else dy.new_empty(0, dtype=torch.float32)


@_backward.register_fake
def _backward_shapes(
    dy: Tensor, x: Tensor, weight: Tensor, bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    sums = dy.new_empty(weight.shape[0] if bias else 0, dtype=torch.float32)
    return torch.empty_like(x), torch.empty_like(weight), sums


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, d_weight, d_bias = _backward(dy, *ctx.saved_tensors, ctx.bias_dtype is not None)
    return dx, d_weight, None if ctx.bias_dtype is None else d_bias.to(ctx.bias_dtype)


_linear_op = torch.library.custom_op("recall_bench::linear", _forward, mutates_args=())
_linear_op.register_fake(_shapes)
_linear_op.register_autograd(_differentiate, setup_context=_save)
_linear = differentiable(_linear_op, _forward, _save, _differentiate)
