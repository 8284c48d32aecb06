"""RWKV-5's recurrence in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, H heads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.plumbing.precision import without_autocast

CHUNK = 64
"""Tokens whose scores are computed directly; a power of two."""


def wkv(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    initial_state: Tensor | None = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.wkv.wkv`.

    It uses scores inside a chunk and the state between chunks. Every decay is a nonnegative power
    of w, so that nothing overflows however fast a channel forgets.
    """
    dtype = log_decay.dtype
    r, k, v = (value.to(dtype).transpose(1, 2) for value in (r, k, v))  # (B, H, L, ·)
    exponents = torch.arange(CHUNK + 1, dtype=dtype, device=r.device)
    w = torch.exp(log_decay[:, None] * exponents[:, None])  # (H, CHUNK + 1, d): w^0, w^1, …
    S = initial_state
    if S is None:
        S = r.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
    S = S.to(dtype)
    outputs: list[Tensor] = []
    with without_autocast(r.device):
        for R, K, V in zip(*(value.split(CHUNK, 2) for value in (r, k, v)), strict=True):
            n = R.shape[2]
            y = _scores(R, K, w, bonus.to(dtype)) @ V
            outputs.append(y + (R * w[:, :n]) @ S if outputs or initial_state is not None else y)
            S = w[:, n, :, None] * S + (K * w[:, :n].flip(1)).mT @ V
    y = torch.cat(outputs, 2).transpose(1, 2)
    return (y, S) if return_state else y


def wkv_step(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    initial_state: Tensor,
    return_state: bool = False,
) -> Any:
    """One token of `wkv`: r, k, v (B, 1, H, ·)."""
    S = initial_state.to(log_decay.dtype)
    r, k, v = (value[:, 0].to(S.dtype) for value in (r, k, v))  # (B, H, ·)
    kv = k[..., None] * v[..., None, :]
    y = (r[..., None] * (S + bonus.to(S.dtype)[..., None] * kv)).sum(-2)[:, None]
    return (y, log_decay.exp()[..., None] * S + kv) if return_state else y


def _scores(r: Tensor, k: Tensor, w: Tensor, bonus: Tensor) -> Tensor:
    """r_i diag(w^(i-1-j)) k_j for j < i, r_i diag(u) k_i for j = i: (B, H, n, d) -> (B, H, n, n).

    It starts from blocks of one token and joins neighbours: between a block of s tokens and the
    next one, the decay splits at their border into w^(0 … s-1) on either side.
    """
    n, s = r.shape[2], 1
    padding = (0, 0, 0, 2 ** (n - 1).bit_length() - n)
    r, k = F.pad(r, padding), F.pad(k, padding)
    scores = (r * k * bonus[:, None]).sum(-1)[..., None, None]  # (B, H, blocks, s, s)
    while s < n:
        later = r.unflatten(2, (-1, 2, s))[:, :, :, 1] * w[:, None, :s]
        earlier = k.unflatten(2, (-1, 2, s))[:, :, :, 0] * w[:, None, :s].flip(2)
        first, second = scores.unflatten(2, (-1, 2)).unbind(3)
        below = torch.cat([later @ earlier.mT, second], -1)
        scores = torch.cat([F.pad(first, (0, s)), below], -2)
        s *= 2
    return scores[:, :, 0, :n, :n]
