"""Column sums of a tall matrix, and sums of a few tensors, in Triton and in a fixed order.

PyTorch's reduction takes many times as long as reading a tall matrix. Here programs sum strips of
it, and a second launch adds up the strips' sums; a matrix of few rows takes one launch.

Dimensions: N rows, M columns; tiles of R rows and C columns.
"""
# mypy: disable-error-code="no-untyped-def"

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.plumbing.triton_support import rows_contiguous

FEW = 2048
"""Up to this many rows, one program sums columns that fill one memory transaction."""

STRIPS = 128
"""Programs that share the rows; with a few column tiles, enough to fill a large GPU."""

TILE = 4096  # elements


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


@torch.library.custom_op("recall_bench::column_sum", mutates_args=())
def column_sum(x: Tensor) -> Tensor:
    """(N, M) -> (M,), in float32."""
    total = _column_sum_shape(x)
    column_sum_into(x, total)
    return total


@column_sum.register_fake
def _column_sum_shape(x: Tensor) -> Tensor:
    return torch.empty(x.shape[1], dtype=torch.float32, device=x.device)


def column_sum_into(x: Tensor, total: Tensor) -> None:
    """`column_sum` written to ``total``, contiguous."""
    x = rows_contiguous(x)
    N, M = x.shape
    C = min(8 if N <= FEW else 64, triton.next_power_of_2(M))
    R = TILE // C
    strips = 1 if N <= FEW else min(STRIPS, triton.cdiv(N, R))
    sums = total if strips == 1 else torch.empty(strips, M, dtype=torch.float32, device=x.device)
    _column_sum_kernel[strips, triton.cdiv(M, C)](x, sums, N, M, x.stride(0), R=R, C=C, num_warps=4)
    if strips > 1:
        column_sum_into(sums, total)


UNROLLED = 16
"""Parts that are loaded at the same time."""


@triton.jit
def _sum_parts_kernel(
    parts, total, size, COUNT: tl.constexpr, UNROLL: tl.constexpr, C: tl.constexpr
):
    """parts (groups, COUNT, size) -> total (groups, size)."""
    group = tl.program_id(1).to(tl.int64)
    offset = tl.program_id(0).to(tl.int64) * C + tl.arange(0, C)
    parts += group * COUNT * size + offset
    summed = tl.zeros((C,), tl.float32)
    for first in range(0, COUNT, UNROLL):
        for i in tl.static_range(UNROLL):
            inside = (offset < size) & (first + i < COUNT)
            summed += tl.load(parts, mask=inside, other=0.0).to(tl.float32)
            parts += size
    tl.store(total + group * size + offset, summed.to(total.dtype.element_ty), mask=offset < size)


def sum_parts(parts: Tensor, total: Tensor) -> None:
    """parts (groups, count, …) summed into total (groups, …), both contiguous."""
    groups, count = parts.shape[:2]
    size = total[0].numel()
    columns = 1024
    _sum_parts_kernel[triton.cdiv(size, columns), groups](
        parts, total, size, COUNT=count, UNROLL=min(count, UNROLLED), C=columns, num_warps=4
    )
