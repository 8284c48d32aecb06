"""Adding rows to a few positions of a tensor, in place, in Triton and in a fixed order.

Dimensions: B batch, Q rows that are added to each of its T, D width; tiles of R rows and C columns.
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl
from torch import Tensor

C_LIMIT = 128  # columns; one warp holds 8 rows of them well


@triton.jit(do_not_specialize=["Q", "T"])
def _add_rows_kernel(
    out, rows, positions, Q, T, D, N: tl.constexpr, R: tl.constexpr, C: tl.constexpr
):
    """One program per row: the first row of each position adds all of them, the others none."""
    b = (tl.program_id(0) // Q).to(tl.int64)
    query = tl.program_id(0) % Q
    positions += b * Q
    position = tl.load(positions + query)
    first, last = query, query
    for start in range(0, Q, N):
        i = start + tl.arange(0, N)
        same = tl.load(positions + i, mask=i < Q, other=-1) == position
        first = tl.minimum(first, tl.min(tl.where(same, i, query), 0))
        last = tl.maximum(last, tl.max(tl.where(same, i, query), 0))
    if first == query:
        c = tl.program_id(1) * C + tl.arange(0, C)
        total = tl.zeros((R, C), tl.float32)
        for start in range(query, last + 1, R):
            i = start + tl.arange(0, R)
            same = tl.load(positions + i, mask=i <= last, other=-1) == position
            offset = (b * Q + i)[:, None] * D + c[None, :]
            inside = same[:, None] & (c < D)[None, :]
            total += tl.load(rows + offset, mask=inside, other=0.0).to(tl.float32)
        row = out + (b * T + position) * D + c
        value = tl.load(row, mask=c < D, other=0.0).to(tl.float32) + tl.sum(total, 0)
        tl.store(row, value.to(out.dtype.element_ty), mask=c < D)


def add_rows(out: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """Add rows (B, Q, …) to out (B, T, …) in place, at positions (B, Q) int64.

    The positions may repeat and have any order; rows of one position are summed in float32. out
    must be contiguous and belong to the caller.
    """
    assert out.is_contiguous()
    if rows.numel() == 0:
        return out
    (B, Q), T = positions.shape, out.shape[1]
    D = rows.numel() // (B * Q)
    C = min(C_LIMIT, triton.next_power_of_2(D))
    _add_rows_kernel[B * Q, triton.cdiv(D, C)](
        out, rows.contiguous(), positions.contiguous(), Q, T, D, N=128, R=8, C=C, num_warps=1
    )
    return out
