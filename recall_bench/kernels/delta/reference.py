"""The delta rules in chunks, in plain PyTorch on any device; also the training path on CPU.

B batch, L length, H heads, N chunks of C tokens, W writes a token.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.plumbing.decayed_scores import (
    decay_since_start,
    decay_until_end,
    decayed_scores,
)
from recall_bench.kernels.plumbing.precision import without_autocast

CHUNK = 32
"""Writes that one triangular system holds; a power of two."""


def delta(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    log_decay: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    remove: str = "after",
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.delta.delta`.

    It is the WY form (arXiv 2406.06484, section 3). In a chunk that starts from S, with E_ij the
    decay between tokens j and i, the rows x_i that the tokens remove (and, in a delta rule, write)
    solve a unit lower triangular system, for all chunks at once:

        x_i = r_i + e_i (a_i^T S) + sum_{j<i} (a_i^T E_ij b_j) x_j.

    r is v with a = -k and b = beta k, and what a reads of the chunk's writes otherwise.
    """
    dtype = torch.promote_types(v.dtype, torch.float32)
    length = q.shape[1]
    if length == 0:
        return v.new_zeros(*q.shape[:-1], v.shape[-1], dtype=dtype)
    if k.dim() == 4:
        k, v = k.unsqueeze(2), v.unsqueeze(2)
        beta, a, b = (None if x is None else x.unsqueeze(2) for x in (beta, a, b))
    writes = k.shape[2]
    size = min(_power_of_two(length), max(1, CHUNK // _power_of_two(writes)))

    def chunks(x: Tensor) -> Tensor:
        """(B, L, …, H, d) -> (B, H, N, C, …, d), padded by tokens that change nothing."""
        padding = (0, 0) * (x.dim() - 2) + (0, -length % size)
        return F.pad(x.to(dtype), padding).unflatten(1, (-1, size)).movedim(-2, 1)

    with without_autocast(q.device):
        g = None if log_decay is None else _channels_last(log_decay, q)
        g = None if g is None else chunks(g)  # (B, H, N, C, 1 or d)
        if beta is not None:
            v, k = chunks(v), chunks(k)
            a, b, plain = -k, k * chunks(beta[..., None]), None
        else:
            assert a is not None
            assert b is not None
            a, b, v, plain = chunks(a), chunks(b), chunks(v), chunks(k)
        q = chunks(q)[..., None, :]  # (B, H, N, C, 1, d)
        y, S = _chunked(q, v, a, b, plain, g, remove == "before", initial_state)
    y = y.flatten(2, 3)[:, :, :length].transpose(1, 2)
    return (y, S) if return_state else y


def delta_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    log_decay: Tensor | None = None,
    a: Tensor | None = None,
    b: Tensor | None = None,
    remove: str = "after",
    *,
    initial_state: Tensor,
    return_state: bool = False,
) -> Any:
    """One token of `delta`: q (B, 1, H, d), and the others likewise."""
    S = initial_state.to(torch.promote_types(v.dtype, torch.float32))
    if k.dim() == 4:
        k, v = k.unsqueeze(2), v.unsqueeze(2)
        beta, a, b = (None if x is None else x.unsqueeze(2) for x in (beta, a, b))
    decayed = S
    if log_decay is not None:
        decayed = _channels_last(log_decay, q)[:, 0].to(S.dtype).exp()[..., None] * S
    read = S if remove == "before" else decayed
    S = decayed
    for i in range(k.shape[2]):
        k_t, v_t = k[:, 0, i].to(S.dtype)[..., None], v[:, 0, i].to(S.dtype)[..., None, :]
        if beta is not None:
            scaled = beta[:, 0, i].to(S.dtype)[..., None, None] * k_t
            S = S + scaled * (v_t - k_t.mT @ read)
        else:
            assert a is not None
            assert b is not None
            a_t, b_t = a[:, 0, i].to(S.dtype)[..., None], b[:, 0, i].to(S.dtype)[..., None]
            S = S + b_t * (a_t.mT @ read) + k_t * v_t
        read = S
    y = (q[:, 0].to(S.dtype)[..., None, :] @ S).squeeze(-2)[:, None]
    return (y, S) if return_state else y


def _chunked(
    q: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    k: Tensor | None,
    g: Tensor | None,
    remove_before: bool,
    initial_state: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """q (B, H, N, C, 1, d), v, a, b, k (B, H, N, C, W, ·), g (B, H, N, C, 1 or d).

    k is None where all that is written solves the system.
    """
    C, W = a.shape[3:5]
    before = [remove_before, *[False] * W]  # the first removal's reader; the last one is q
    readers, writers = torch.cat([a, q], 4), b if k is None else torch.cat([b, k], 4)
    scores = decayed_scores(readers, writers, g, before)  # (B, H, N, C, W + 1, C, W or 2 W)
    later = torch.ones(C, C, dtype=torch.bool, device=q.device).triu(1)
    read = scores[..., W, :, :].masked_fill(later[..., None], 0.0)  # (B, H, N, C, C, ·)
    if g is not None:
        readers = readers * decay_since_start(g, before)
        writers = writers * decay_until_end(g)
        end = g.sum(-2).exp()[..., None]  # (B, H, N, 1 or d, 1)
    first, values = readers[..., :W, :].flatten(3, 4), v.flatten(3, 4)  # (B, H, N, C W, ·)
    asked, removing = readers[..., W, :], writers[..., :W, :].flatten(3, 4)
    system = -scores[..., :W, :, :W].flatten(-2).flatten(-3, -2)  # (B, H, N, C W, C W)
    right = values
    if k is not None:
        right = scores[..., :W, :, W:].flatten(-2).flatten(-3, -2).tril(-1) @ values
    N = q.shape[2]
    carried = N > 1 or initial_state is not None
    if carried:
        right = torch.cat([right, first], -1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    x, through = solved.split([v.shape[-1], solved.shape[-1] - v.shape[-1]], -1)
    y = read[..., :W].flatten(-2) @ x
    added = removing.mT @ x  # (B, H, N, d, d_v)
    if k is not None:
        y = y + read[..., W:].flatten(-2) @ values
        added = added + writers[..., W:, :].flatten(3, 4).mT @ values
    if not carried:
        return y, added[:, :, 0]
    S = added.new_zeros(added[:, :, 0].shape) if initial_state is None else initial_state
    S = S.to(added.dtype)
    turned = removing.mT @ through  # (B, H, N, d, d)
    starts = []
    for n in range(N):
        starts.append(S)
        S = (S if g is None else end[:, :, n] * S) + turned[:, :, n] @ S + added[:, :, n]
    start = torch.stack(starts, 2)  # (B, H, N, d, d_v)
    return y + (asked + read[..., :W].flatten(-2) @ through) @ start, S


def _channels_last(log_decay: Tensor, q: Tensor) -> Tensor:
    """(B, L, H, 1 or d)."""
    return log_decay if log_decay.dim() == q.dim() else log_decay[..., None]


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
