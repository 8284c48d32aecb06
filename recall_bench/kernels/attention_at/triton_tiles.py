"""Program indices and masks that the kernels of `attention_at` share."""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl


@triton.jit
def place(Q, H, M: tl.constexpr):
    """A program's head, its tile of M queries counted over the batch, its row, its first query."""
    tile = tl.program_id(0) // H
    b = (tile // tl.cdiv(Q, M)).to(tl.int64)
    return tl.program_id(0) % H, tile.to(tl.int64), b, tile % tl.cdiv(Q, M) * M


@triton.jit
def reach(positions, m0, Q, T, window, M: tl.constexpr):
    """Positions of the M queries from m0 on, -1 beyond Q, and the ends of the keys they see."""
    m = m0 + tl.arange(0, M)
    position = tl.load(positions + m, mask=m < Q, other=-1).to(tl.int32)
    first = tl.min(tl.where(m < Q, position, T), 0) - window + 1
    return position, tl.maximum(first, 0), tl.max(position, 0) + 1


@triton.jit
def seen(position, key, window):
    """Whether queries at these positions see these keys."""
    return (key <= position) & (position - key < window)
