"""The gated outer-product recurrence in plain PyTorch, on any device; also the training path.

B batch, L length, G groups of queries and keys, R heads per group, N chunks, C tokens per chunk.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.plumbing.precision import without_autocast

CHUNK = 64
"""Tokens whose scores are computed directly; a power of two."""


class Block(NamedTuple):
    """Scores and decays of blocks of s neighbouring tokens; see `_joined`.

    Every decay is a product of factors in [0, 1]: no sum of logarithms is ever exponentiated, so
    nothing overflows or cancels however fast a channel forgets.
    """

    scores: Tensor
    """(…, blocks, s, s): sum over d of q_i k_j times the decay from j to i; 0 for j > i."""
    start: Tensor
    """(…, blocks, s, d): the decay from the state before the block to the read at each token."""
    end: Tensor
    """(…, blocks, s, d): the decay from each token's write to the end of the block."""
    whole: Tensor
    """(…, blocks, 1, d): the decay over the whole block."""


def gated_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    bonus: Tensor | None = None,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.gated_linear.gated_linear`.

    It uses scores inside a chunk and the state between chunks.
    """
    length, groups = k.shape[1:3]
    dtype = torch.promote_types(q.dtype, torch.float32)
    size = min(CHUNK, 2 ** max(0, length - 1).bit_length())

    def chunks(x: Tensor) -> Tensor:  # (B, L, heads, ·) -> (B, G, R, N, C, ·)
        x = x.to(dtype).unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4)
        return F.pad(x, (0, 0, 0, -length % size)).unflatten(3, (-1, size))

    with without_autocast(q.device):
        Q, K, V = chunks(q), chunks(k), chunks(v)
        if log_decay is None:
            log_decay = q.new_zeros(groups)
        if log_decay.dim() == 1:
            log_decay = log_decay.expand(1, length, -1)
        if log_decay.dim() == 3:
            log_decay = log_decay[..., None]
        u = None if bonus is None else bonus.to(dtype).view(groups, -1, 1, 1, bonus.shape[-1])
        block = _blocks(Q, K, chunks(log_decay).exp(), u)
        y = block.scores @ V
        S: Any = initial_state
        if S is not None or return_state or Q.shape[3] > 1:
            if S is None:
                S = y.new_zeros(y.shape[0], v.shape[2], k.shape[-1], v.shape[-1])
            S = S.to(dtype).unflatten(1, (groups, -1))
            before = []
            writes = (K * block.end).mT @ V  # (B, G, R, N, d, d_v)
            for write, whole in zip(writes.unbind(3), block.whole.mT.unbind(3), strict=True):
                before.append(S)
                S = whole * S + write
            y = y + (Q * block.start) @ torch.stack(before, 3)
        y = y.flatten(3, 4)[:, :, :, :length].flatten(1, 2).transpose(1, 2)
    return (y, S.flatten(1, 2)) if return_state else y


def gated_linear_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    bonus: Tensor | None = None,
    *,
    initial_state: Tensor,
    return_state: bool = False,
) -> Any:
    """One token of `gated_linear`: q, k (B, 1, G, d), v (B, 1, H, d_v)."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    S, repeats = initial_state.to(dtype), v.shape[2] // k.shape[2]
    q, k = (x[:, 0].to(dtype).repeat_interleave(repeats, 1) for x in (q, k))  # (B, H, d)
    kv = k[..., None] * v[:, 0].to(dtype)[..., None, :]
    before = S
    if log_decay is not None:
        w = log_decay.to(dtype).exp()
        w = w if w.dim() == 1 else w[:, 0]
        S = (w[..., None] if w.dim() == 3 else w[..., None, None]) * S
    S = S + kv
    read = S if bonus is None else before + bonus.to(dtype)[..., None] * kv
    y = (q[..., None] * read).sum(-2)[:, None]
    return (y, S) if return_state else y


def _blocks(q: Tensor, k: Tensor, w: Tensor, bonus: Tensor | None) -> Block:
    """One block per chunk: q, k (B, G, 1, N, C, d), w (…, C, d or 1), bonus (G, R, 1, 1, d)."""
    before = bonus is not None
    diagonal = (q * k if bonus is None else q * bonus * k).sum(-1)  # (B, G, R or 1, N, C)
    if w.shape[-1] == q.shape[-1]:
        shape = torch.broadcast_shapes(diagonal.shape, w.shape[:-1])
        return _joined(q, k, w, diagonal.expand(shape), before)
    ones = torch.ones_like(w)
    decays = _joined(ones, ones, w, ones[..., 0] * (not before), before)
    scores = (q @ k.mT) * decays.scores
    return decays._replace(scores=scores + diagonal.diag_embed() if before else scores)


def _joined(q: Tensor, k: Tensor, w: Tensor, diagonal: Tensor, before: bool) -> Block:
    """Start from blocks of one token and join neighbours until one is left per chunk.

    Between two blocks, the decay from token j of the first to token i of the second splits at their
    border into ``end`` of j and ``start`` of i. A read ``before`` the update does not decay by its
    own token's w.
    """
    unit = w[..., None, :]  # (…, C, 1, ·)
    ones = torch.ones_like(unit)
    block = Block(diagonal[..., None, None], ones if before else unit, ones, unit)
    while (s := block.scores.shape[-1]) < q.shape[-2]:
        first, second = (Block(*parts) for parts in zip(*map(_pairs, block), strict=True))
        later = q.unflatten(-2, (-1, 2, s))[..., 1, :, :] * second.start
        earlier = k.unflatten(-2, (-1, 2, s))[..., 0, :, :] * first.end
        below = torch.cat([later @ earlier.mT, second.scores], -1)
        block = Block(
            torch.cat([F.pad(first.scores, (0, s)), below], -2),
            torch.cat([first.start, first.whole * second.start], -2),
            torch.cat([first.end * second.whole, second.end], -2),
            first.whole * second.whole,
        )
    return Block(*(part.squeeze(-3) for part in block))


def _pairs(x: Tensor) -> tuple[Tensor, ...]:
    """The first and the second block of each pair of neighbours: (…, blocks, s, ·) each."""
    return x.unflatten(-3, (-1, 2)).unbind(-3)
