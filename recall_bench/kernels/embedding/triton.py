"""Embedding lookup in Triton; its gradient is summed along the sorted positions, without atomics.

Dimensions: P positions, V tokens, D width, padded to DP. A token's first `PIECE` positions are
summed in one program, and every further piece in one of its own; a second kernel adds those pieces
up. PyTorch's own backward pass sorts in every step.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recall_bench.kernels.embedding.order import PIECE, TokenOrder, token_order
from recall_bench.kernels.triton_support import differentiable, needs_gradient, unavailable_for


@triton.jit
def _lookup_kernel(tokens, weight, out, w_v, w_d, P, D, ROWS: tl.constexpr, DP: tl.constexpr):
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, DP)
    token = tl.load(tokens + p, mask=p < P, other=0).to(tl.int64)
    inside = (p < P)[:, None] & (d < D)[None, :]
    row = tl.load(weight + token[:, None] * w_v + (d * w_d)[None, :], mask=inside, other=0.0)
    tl.store(out + p.to(tl.int64)[:, None] * D + d[None, :], row, mask=inside)


@triton.jit
def _sum_rows(gradient, positions, first, end, D, ROWS: tl.constexpr, DP: tl.constexpr):
    """The sum of the gradients at positions[first:end]: (DP,)."""
    d = tl.arange(0, DP)
    total = tl.zeros((ROWS, DP), tl.float32)
    for start in range(first, end, ROWS):
        i = start + tl.arange(0, ROWS)
        p = tl.load(positions + i, mask=i < end, other=0).to(tl.int64)
        inside = (i < end)[:, None] & (d < D)[None, :]
        row = tl.load(gradient + p[:, None] * D + d[None, :], mask=inside, other=0.0)
        total += row.to(tl.float32)
    return tl.sum(total, 0)


@triton.jit
def _piece_kernel(
    gradient, positions, starts, piece_starts, piece_tokens, d_weight, pieces, further, V, D,
    SIZE: tl.constexpr, FEW: tl.constexpr, MANY: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """Sums over ``further`` pieces in ``pieces``, then over tokens' first ones in d_weight (V, D).

    The further pieces, full but for the last of a token, come first: they take the longest.
    """
    piece = tl.program_id(0)
    d = tl.arange(0, DP)
    if piece < further:
        token = tl.load(piece_tokens + piece)
        if token < V:
            skipped = piece - tl.load(piece_starts + token) + 1
            first = tl.load(starts + token) + skipped * SIZE
            end = tl.minimum(first + SIZE, tl.load(starts + token + 1))
            total = _sum_rows(gradient, positions, first, end, D, MANY, DP)
            tl.store(pieces + piece.to(tl.int64) * D + d, total, mask=d < D)
    else:
        token = piece - further
        first = tl.load(starts + token)
        end = tl.minimum(first + SIZE, tl.load(starts + token + 1))
        total = _sum_rows(gradient, positions, first, end, D, FEW, DP)
        row = d_weight + token.to(tl.int64) * D + d
        tl.store(row, total.to(d_weight.dtype.element_ty), mask=d < D)


@triton.jit
def _add_kernel(
    pieces, piece_starts, piece_tokens, d_weight, V, D, ROWS: tl.constexpr, C: tl.constexpr
):
    """Adds a token's further pieces to C columns of its row: the program of the first one works."""
    piece = tl.program_id(0)
    token = tl.load(piece_tokens + piece)
    if token < V:
        if piece == tl.load(piece_starts + token):
            d = tl.program_id(1) * C + tl.arange(0, C)
            total = tl.zeros((ROWS, C), tl.float32)
            end = tl.load(piece_starts + token + 1)
            for start in range(piece, end, ROWS):
                i = start + tl.arange(0, ROWS)
                at = i.to(tl.int64)[:, None] * D + d[None, :]
                total += tl.load(pieces + at, mask=(i < end)[:, None] & (d < D)[None, :], other=0.0)
            row = d_weight + token.to(tl.int64) * D + d
            result = tl.load(row, mask=d < D, other=0.0).to(tl.float32) + tl.sum(total, 0)
            tl.store(row, result.to(d_weight.dtype.element_ty), mask=d < D)


def unavailable(op: str, tensor: Tensor) -> str | None:
    """Why these kernels cannot run on a weight like ``tensor``; None where they can."""
    return unavailable_for(tensor)


def embedding(tokens: Tensor, weight: Tensor, order: TokenOrder | None = None) -> Tensor:
    """See `recall_bench.kernels.embedding.embedding`."""
    if not needs_gradient(weight):
        return _lookup(weight, tokens, None, None, None, None)
    return _lookup(weight, tokens, *(order or token_order(tokens, len(weight))))


def _tile(D: int, rows: int) -> int:
    """At most so many rows of a tile that one program of four warps holds well."""
    return max(1, min(rows, 8192 // triton.next_power_of_2(D)))


def _forward(
    weight: Tensor, tokens: Tensor, positions: Tensor | None, starts: Tensor | None,
    piece_starts: Tensor | None, piece_tokens: Tensor | None,
) -> Tensor:  # fmt: skip
    out = _lookup_shapes(weight, tokens)
    P, D = tokens.numel(), weight.shape[1]
    if P > 0:
        rows = _tile(D, 64)
        _lookup_kernel[(triton.cdiv(P, rows),)](
            tokens.contiguous(), weight, out, *weight.stride(), P, D,
            ROWS=rows, DP=triton.next_power_of_2(D), num_warps=4,
        )  # fmt: skip
    return out


def _lookup_shapes(weight: Tensor, tokens: Tensor, *order: Tensor | None) -> Tensor:
    return weight.new_empty(*tokens.shape, weight.shape[1])


@torch.library.custom_op("recall_bench::embedding_backward", mutates_args=())
def _lookup_backward(
    gradient: Tensor, positions: Tensor, starts: Tensor, piece_starts: Tensor, piece_tokens: Tensor
) -> Tensor:
    d_weight = _lookup_backward_shapes(gradient, positions, starts)
    (V, D), further = d_weight.shape, len(piece_tokens)
    gradient = gradient.contiguous()
    pieces = gradient.new_empty(further, D, dtype=torch.float32)
    DP = triton.next_power_of_2(D)
    _piece_kernel[(further + V,)](
        gradient, positions, starts, piece_starts, piece_tokens, d_weight, pieces, further, V, D,
        SIZE=PIECE, FEW=_tile(D, 32), MANY=_tile(D, PIECE), DP=DP, num_warps=4,
    )  # fmt: skip
    if further > 0:
        columns = min(16, DP)
        _add_kernel[further, triton.cdiv(D, columns)](
            pieces, piece_starts, piece_tokens, d_weight, V, D, ROWS=512, C=columns, num_warps=8
        )
    return d_weight


@_lookup_backward.register_fake
def _lookup_backward_shapes(
    gradient: Tensor, positions: Tensor, starts: Tensor, *others: Tensor
) -> Tensor:
    return gradient.new_empty(starts.shape[0] - 1, gradient.shape[-1])


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[2:])


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return _lookup_backward(gradient, *ctx.saved_tensors), None, None, None, None, None


_lookup_op = torch.library.custom_op("recall_bench::embedding", _forward, mutates_args=())
_lookup_op.register_fake(_lookup_shapes)
_lookup_op.register_autograd(_differentiate, setup_context=_save)
_lookup = differentiable(_lookup_op, _forward, _save, _differentiate)
