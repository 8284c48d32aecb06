"""Embedding lookup in Triton; its gradient is summed along the sorted positions, without atomics.

Dimensions: P positions, V tokens, D width, padded to DP. One program sums a token's first
`PIECE` positions, another one each further piece; a second kernel adds up those pieces. PyTorch's
own backward pass sorts in every step.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.embedding.order import PIECE, TokenOrder, token_order
from recall_bench.kernels.embedding.reference import LEVELS
from recall_bench.kernels.plumbing.triton_support import (
    differentiable,
    needs_gradient,
    unavailable_for,
)


@triton.jit
def _factor(seed, p, dropped, LEVELS: tl.constexpr, DP: tl.constexpr):
    """Dropout's factors for the rows at positions p: (…, DP). DP is at least 8.

    Philox gives 128 bits at a time: 16 for each of 8 columns.
    """
    counter = p[:, None] * (DP // 8) + tl.arange(0, DP // 8)[None, :]
    w0, w1, w2, w3 = tl.randint4x(tl.load(seed), counter)
    words = tl.interleave(tl.interleave(w0, w1), tl.interleave(w2, w3)).to(tl.int32, bitcast=True)
    bits = tl.interleave(words & 0xFFFF, (words >> 16) & 0xFFFF)
    return tl.where(bits < dropped, 0.0, LEVELS / (LEVELS - dropped).to(tl.float32))


@triton.jit(do_not_specialize=["P", "dropped"])
def _lookup_kernel(
    tokens, weight, out, seed, w_v, w_d, P, D, dropped,
    LEVELS: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DP)
    token = tl.load(tokens + p, mask=p < P, other=0).to(tl.int64)
    inside = (p < P)[:, None] & (d < D)[None, :]
    row = tl.load(weight + token[:, None] * w_v + (d * w_d)[None, :], mask=inside, other=0.0)
    if seed is not None:
        row = row.to(tl.float32) * _factor(seed, p, dropped, LEVELS, DP)
    offset = p.to(tl.int64)[:, None] * D + d[None, :]
    tl.store(out + offset, row.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sum_rows(
    gradient, positions, seed, first, end, D, dropped,
    LEVELS: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """The sum of the gradients at positions[first:end]: (DP,)."""
    d = tl.arange(0, DP)
    total = tl.zeros((ROWS, DP), tl.float32)
    for start in range(first, end, ROWS):
        i = start + tl.arange(0, ROWS)
        p = tl.load(positions + i, mask=i < end, other=0)
        inside = (i < end)[:, None] & (d < D)[None, :]
        offset = p.to(tl.int64)[:, None] * D + d[None, :]
        row = tl.load(gradient + offset, mask=inside, other=0.0).to(tl.float32)
        if seed is not None:
            row *= _factor(seed, p, dropped, LEVELS, DP)
        total += row
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=["further", "V", "dropped"])
def _piece_kernel(
    gradient, positions, starts, piece_starts, piece_tokens, seed, d_weight, pieces,
    further, V, D, dropped,
    LEVELS: tl.constexpr, SIZE: tl.constexpr, FEW: tl.constexpr, MANY: tl.constexpr,
    DP: tl.constexpr,
):  # fmt: skip
    """Sums of the ``further`` pieces to ``pieces``, and of tokens' first pieces to d_weight (V, D).

    The further pieces come first because they take the longest: all but a token's last are full.
    """
    piece = tl.program_id(0)
    d = tl.arange(0, DP)
    if piece < further:
        token = tl.load(piece_tokens + piece)
        if token < V:
            skipped = piece - tl.load(piece_starts + token) + 1
            first = tl.load(starts + token) + skipped * SIZE
            end = tl.minimum(first + SIZE, tl.load(starts + token + 1))
            total = _sum_rows(gradient, positions, seed, first, end, D, dropped, LEVELS, MANY, DP)
            tl.store(pieces + piece.to(tl.int64) * D + d, total, mask=d < D)
    else:
        token = piece - further
        first = tl.load(starts + token)
        end = tl.minimum(first + SIZE, tl.load(starts + token + 1))
        total = _sum_rows(gradient, positions, seed, first, end, D, dropped, LEVELS, FEW, DP)
        row = d_weight + token.to(tl.int64) * D + d
        tl.store(row, total.to(d_weight.dtype.element_ty), mask=d < D)


@triton.jit(do_not_specialize=["V"])
def _add_kernel(
    pieces, piece_starts, piece_tokens, d_weight, V, D, ROWS: tl.constexpr, C: tl.constexpr
):
    """Adds a token's further pieces to C columns of its row; only the first one's program works."""
    piece = tl.program_id(0)
    token = tl.load(piece_tokens + piece)
    if token < V:
        if piece == tl.load(piece_starts + token):
            d = tl.program_id(1) * C + tl.arange(0, C)
            total = tl.zeros((ROWS, C), tl.float32)
            end = tl.load(piece_starts + token + 1)
            for start in range(piece, end, ROWS):
                i = start + tl.arange(0, ROWS)
                offset = i.to(tl.int64)[:, None] * D + d[None, :]
                total += tl.load(
                    pieces + offset, mask=(i < end)[:, None] & (d < D)[None, :], other=0.0
                )
            row = d_weight + token.to(tl.int64) * D + d
            result = tl.load(row, mask=d < D, other=0.0).to(tl.float32) + tl.sum(total, 0)
            tl.store(row, result.to(d_weight.dtype.element_ty), mask=d < D)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason these kernels cannot run on a weight like ``tensor``, or None."""
    return unavailable_for(tensor)


def embedding(
    tokens: Tensor,
    weight: Tensor,
    order: TokenOrder | None = None,
    dropped: int = 0,
    seed: Tensor | None = None,
) -> Tensor:
    """See `recall_bench.kernels.embedding.embedding`; ``dropped`` in `LEVELS`."""
    if dropped == 0:
        seed = None
    if not needs_gradient(weight):
        return _lookup(weight, tokens, seed, dropped, None, None, None, None)
    order = order or token_order(tokens, len(weight))
    return _lookup(weight, tokens, seed, dropped, *order)


def _padded(D: int) -> int:
    return max(8, triton.next_power_of_2(D))


def _tile(D: int, rows: int) -> int:
    """The number of rows in a tile, at most as many as one program holds well."""
    return max(1, min(rows, 4096 // _padded(D)))


def _forward(
    weight: Tensor, tokens: Tensor, seed: Tensor | None, dropped: int,
    positions: Tensor | None, starts: Tensor | None,
    piece_starts: Tensor | None, piece_tokens: Tensor | None,
) -> Tensor:  # fmt: skip
    out = _lookup_shapes(weight, tokens)
    P, D = tokens.numel(), weight.shape[1]
    if P > 0:
        rows = _tile(D, 64)
        _lookup_kernel[(triton.cdiv(P, rows),)](
            tokens.contiguous(), weight, out, seed, *weight.stride(), P, D, dropped,
            LEVELS=LEVELS, ROWS=rows, DP=_padded(D), num_warps=4,
        )  # fmt: skip
    return out


def _lookup_shapes(weight: Tensor, tokens: Tensor, *others: Any) -> Tensor:
    return weight.new_empty(*tokens.shape, weight.shape[1])


@torch.library.custom_op("recall_bench::embedding_backward", mutates_args=())
def _lookup_backward(
    gradient: Tensor, seed: Tensor | None, dropped: int,
    positions: Tensor, starts: Tensor, piece_starts: Tensor, piece_tokens: Tensor,
) -> Tensor:  # fmt: skip
    d_weight = _lookup_backward_shapes(gradient, seed, dropped, positions, starts)
    (V, D), further = d_weight.shape, len(piece_tokens)
    gradient = gradient.contiguous()
    pieces = gradient.new_empty(further, D, dtype=torch.float32)
    _piece_kernel[(further + V,)](
        gradient, positions, starts, piece_starts, piece_tokens, seed, d_weight, pieces,
        further, V, D, dropped, LEVELS=LEVELS,
        SIZE=PIECE, FEW=_tile(D, 4), MANY=_tile(D, 32), DP=_padded(D), num_warps=2,
    )  # fmt: skip
    if further > 0:
        columns = min(16, _padded(D))
        _add_kernel[further, triton.cdiv(D, columns)](
            pieces, piece_starts, piece_tokens, d_weight, V, D, ROWS=512, C=columns, num_warps=8
        )
    return d_weight


@_lookup_backward.register_fake
def _lookup_backward_shapes(
    gradient: Tensor, seed: Tensor | None, dropped: int, positions: Tensor, starts: Tensor,
    *others: Tensor,
) -> Tensor:  # fmt: skip
    return gradient.new_empty(starts.shape[0] - 1, gradient.shape[-1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, seed, ctx.dropped, *order = inputs
    ctx.save_for_backward(seed, *order)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    seed, *order = ctx.saved_tensors
    return _lookup_backward(gradient, seed, ctx.dropped, *order), *(None,) * 7


_lookup_op = torch.library.custom_op("recall_bench::embedding", _forward, mutates_args=())
_lookup_op.register_fake(_lookup_shapes)
_lookup_op.register_autograd(_differentiate, setup_context=_save)
_lookup = differentiable(_lookup_op, _forward, _save, _differentiate)
