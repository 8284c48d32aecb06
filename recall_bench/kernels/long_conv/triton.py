"""Long convolution by a product with the matrix T_st = kernel_(t-s), which Triton writes.

PyTorch computes the products; it would need four passes to make the matrix, and four for its
gradient.

Dimensions: H heads, R rows of all sequences of a head, L length, M values of the kernel; tiles
(S, T) of rows s and columns t of the matrix.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.long_conv import reference
from recall_bench.kernels.plumbing.precision import without_autocast
from recall_bench.kernels.plumbing.triton_support import differentiable, unavailable_for


@triton.jit
def _matrix_kernel(kernel, matrix, M, L, S: tl.constexpr, T: tl.constexpr):
    h = tl.program_id(0).to(tl.int64)
    s = tl.program_id(1) * S + tl.arange(0, S)[:, None]
    t = tl.program_id(2) * T + tl.arange(0, T)[None, :]
    lag = t - s
    value = tl.load(kernel + h * M + lag, mask=(lag >= 0) & (lag < M), other=0.0)
    tl.store(matrix + (h * L + s) * L + t, value, mask=(s < L) & (t < L))


@triton.jit
def _diagonals_kernel(matrix, sums, M, L, S: tl.constexpr, T: tl.constexpr):
    """sums (H, M) along the diagonals t - s = 0 … M-1, T of them per program."""
    h = tl.program_id(0).to(tl.int64)
    first = tl.program_id(1) * T
    lag = first + tl.arange(0, T)
    total = tl.zeros((S, T), tl.float32)
    for begin in range(0, L - first, S):
        s = begin + tl.arange(0, S)[:, None]
        t = s + lag[None, :]
        total += tl.load(matrix + (h * L + s) * L + t, mask=t < L, other=0.0).to(tl.float32)
    value = tl.sum(total, 0).to(sums.dtype.element_ty)
    tl.store(sums + h * M + lag, value, mask=lag < M)


TILE = {"S": 16, "T": 64}

LENGTH_LIMIT = 512
"""The FFT is faster for longer sequences."""


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a kernel like ``tensor``, or None."""
    return unavailable_for(tensor)


def long_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """See `recall_bench.kernels.long_conv.long_conv`."""
    if x.shape[-1] > LENGTH_LIMIT:
        return reference.long_conv(x, kernel)
    by_head = x.transpose(0, 1).to(kernel.dtype, memory_format=torch.contiguous_format)
    rows = by_head.flatten(1, -2).contiguous()  # once, for the products of both directions
    y: Tensor = _convolve(rows, kernel)
    return y.view(by_head.shape).transpose(0, 1)


def _matrix(kernel: Tensor, length: int) -> Tensor:
    """(H, M) -> (H, L, L)."""
    H, M = kernel.shape
    matrix = kernel.new_empty(H, length, length)
    grid = H, triton.cdiv(length, TILE["S"]), triton.cdiv(length, TILE["T"])
    _matrix_kernel[grid](kernel.contiguous(), matrix, M, length, **TILE)
    return matrix


def _diagonals(matrix: Tensor, count: int) -> Tensor:
    """The gradient of the kernel (H, M) from that of its matrix (H, L, L)."""
    H, L, _ = matrix.shape
    sums = matrix.new_empty(H, count)
    _diagonals_kernel[H, triton.cdiv(count, TILE["T"])](matrix, sums, count, L, **TILE)
    return sums


def _forward(rows: Tensor, kernel: Tensor) -> Tensor:
    """(H, R, L), (H, M) -> (H, R, L)."""
    with without_autocast(rows.device):
        return torch.bmm(rows, _matrix(kernel, rows.shape[-1]))


def _shapes(rows: Tensor, kernel: Tensor) -> Tensor:
    return rows.new_empty(rows.shape)


@torch.library.custom_op("recall_bench::long_conv_backward", mutates_args=())
def _backward(dy: Tensor, rows: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the rows and of the kernel."""
    dy = dy.contiguous()  # once, for two products
    with without_autocast(dy.device):
        d_rows = torch.bmm(dy, _matrix(kernel, dy.shape[-1]).mT)
        d_matrix = torch.bmm(rows.mT, dy)
    return d_rows, _diagonals(d_matrix, kernel.shape[1])


@_backward.register_fake
def _backward_shapes(dy: Tensor, rows: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape), kernel.new_empty(kernel.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, Tensor] = _backward(dy, *ctx.saved_tensors)
    return gradients


_convolve_op = torch.library.custom_op("recall_bench::long_conv", _forward, mutates_args=())
_convolve_op.register_fake(_shapes)
_convolve_op.register_autograd(_differentiate, setup_context=_save)
_convolve = differentiable(_convolve_op, _forward, _save, _differentiate)
