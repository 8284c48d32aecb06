"""The gradient of an embedding in Triton: sums along the sorted positions, without atomics.

Dimensions: P positions, V tokens, D width, padded to DP; tiles of ROWS positions. A token's first
`PIECE` positions are summed in one program, and every further piece in one of its own; a second
kernel adds those pieces up. PyTorch's own backward pass sorts in every step.
"""
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.embedding.order import PIECE, TokenOrder, token_order
from recall_bench.kernels.triton_support import differentiable, needs_gradient, unavailable_for


@triton.jit
def _piece_kernel(
    gradient, positions, starts, piece_starts, piece_tokens, d_weight, pieces, V, D,
    SIZE: tl.constexpr, ROWS: tl.constexpr, DP: tl.constexpr,
):  # fmt: skip
    """Sums over a token's first positions in d_weight (V, D), over further ones in ``pieces``."""
    program = tl.program_id(0)
    token = program
    skipped = 0
    if program >= V:
        token = tl.load(piece_tokens + program - V)
        if token < V:
            skipped = (program - V - tl.load(piece_starts + token) + 1) * SIZE
    if token < V:
        first = tl.load(starts + token) + skipped
        end = tl.minimum(first + SIZE, tl.load(starts + token + 1))
        d = tl.arange(0, DP)
        total = tl.zeros((ROWS, DP), tl.float32)
        for start in range(first, end, ROWS):
            i = start + tl.arange(0, ROWS)
            at = tl.load(positions + i, mask=i < end, other=0).to(tl.int64)[:, None] * D
            inside = (i < end)[:, None] & (d < D)[None, :]
            total += tl.load(gradient + at + d[None, :], mask=inside, other=0.0).to(tl.float32)
        result = tl.sum(total, 0)
        if program < V:
            row = d_weight + token.to(tl.int64) * D
            tl.store(row + d, result.to(d_weight.dtype.element_ty), mask=d < D)
        else:
            tl.store(pieces + (program - V).to(tl.int64) * D + d, result, mask=d < D)


@triton.jit
def _add_kernel(
    pieces, piece_starts, piece_tokens, d_weight, V, D, ROWS: tl.constexpr, DP: tl.constexpr
):
    """Adds a token's further pieces to its row; one program a piece, a token's first one works."""
    piece = tl.program_id(0)
    token = tl.load(piece_tokens + piece)
    if token < V:
        if piece == tl.load(piece_starts + token):
            d = tl.arange(0, DP)
            total = tl.zeros((ROWS, DP), tl.float32)
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
        return F.embedding(tokens, weight)
    return _lookup(weight, tokens, *(order or token_order(tokens, len(weight))))


def _forward(
    weight: Tensor, tokens: Tensor,
    positions: Tensor, starts: Tensor, piece_starts: Tensor, piece_tokens: Tensor,
) -> Tensor:  # fmt: skip
    return F.embedding(tokens, weight)


def _lookup_shapes(weight: Tensor, tokens: Tensor, *order: Tensor) -> Tensor:
    return weight.new_empty(*tokens.shape, weight.shape[1])


@torch.library.custom_op("recall_bench::embedding_backward", mutates_args=())
def _lookup_backward(
    gradient: Tensor, positions: Tensor, starts: Tensor, piece_starts: Tensor, piece_tokens: Tensor
) -> Tensor:
    d_weight = _lookup_backward_shapes(gradient, positions, starts)
    V, D = d_weight.shape
    gradient = gradient.contiguous()
    pieces = gradient.new_empty(len(piece_tokens), D, dtype=torch.float32)
    DP = triton.next_power_of_2(D)
    ROWS = max(1, min(32, 2048 // DP))
    _piece_kernel[(V + len(pieces),)](
        gradient, positions, starts, piece_starts, piece_tokens, d_weight, pieces, V, D,
        SIZE=PIECE, ROWS=ROWS, DP=DP, num_warps=2,
    )  # fmt: skip
    if len(pieces) > 0:
        _add_kernel[(len(pieces),)](
            pieces, piece_starts, piece_tokens, d_weight, V, D,
            ROWS=4 * ROWS, DP=DP, num_warps=8,
        )  # fmt: skip
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
