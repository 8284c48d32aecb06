"""Scores between the tokens of a chunk that decay on the way.

All exponents are sums of log decays between two tokens, so that nothing overflows however fast a
chunk forgets; no exponent is a difference of two sums, so that a strong decay blurs no weak one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def decayed_scores(
    left: Tensor, right: Tensor, log_decay: Tensor | None, before: Sequence[bool]
) -> Tensor:
    """sum_d left_id right_jd exp(g_(j+1) + … + g_i), for j <= i; what lies above is arbitrary.

    Args:
        left: (…, n, I, d), several readers at each token.
        right: (…, n, J, d), several writes at each token.
        log_decay: g, (…, n, d), or (…, n, 1) for all d together, or None; with a decay for each
            channel n is a power of two.
        before: of each of the I readers, whether it reads before its own token's decay: the sum
            ends at g_(i-1). It still reads its own token's writes without decay.

    Returns:
        (…, n, I, n, J).
    """
    if log_decay is None:
        return _dot(left, right)
    if log_decay.shape[-1] == 1:
        return _dot(left, right) * _factors(log_decay, before)
    return _by_halves(left, right, log_decay, before)


def decay_since_start(log_decay: Tensor, before: Sequence[bool]) -> Tensor:
    """The decay from the chunk's start to each reader: (…, n, d) -> (…, n, 1 or I, d)."""
    return _since_start(log_decay, before).exp()


def decay_until_end(log_decay: Tensor) -> Tensor:
    """The decay from each token's writes to the chunk's end: (…, n, d) -> (…, n, 1, d)."""
    return _until_end(log_decay).exp()[..., None, :]


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """(…, n, I, d), (…, n, J, d) -> (…, n, I, n, J)."""
    scores = left.flatten(-3, -2) @ right.flatten(-3, -2).mT
    return scores.unflatten(-1, right.shape[-3:-1]).unflatten(-3, left.shape[-3:-1])


def _factors(log_decay: Tensor, before: Sequence[bool]) -> Tensor:
    """exp(g_(j+1) + … + g_i) of one decay for all channels, and 1 above: (…, n, 1 or I, n, 1)."""
    n = log_decay.shape[-2]
    after = log_decay.expand(*log_decay.shape[:-1], n).tril(-1).cumsum(-2).exp()
    if not any(before):
        return after[..., :, None, :, None]
    shifted = F.pad(after[..., :-1, :], (0, 0, 1, 0), value=1.0)
    own = torch.eye(n, dtype=torch.bool, device=after.device)
    shifted = shifted.masked_fill(own, 1.0)
    return torch.stack([shifted if b else after for b in before], -2)[..., None]


def _by_halves(left: Tensor, right: Tensor, log_decay: Tensor, before: Sequence[bool]) -> Tensor:
    """Start from blocks of one token and join neighbours.

    Between a block of s tokens and the next one, the decay splits at their border.
    """
    n, s = log_decay.shape[-2], 1
    scores = (left @ right.mT)[..., None, :, None, :]  # (…, blocks, s, I, s, J)
    while s < n:
        later = left.unflatten(-3, (-1, 2, s)).select(-4, 1)
        earlier = right.unflatten(-3, (-1, 2, s)).select(-4, 0)
        g_earlier, g_later = log_decay.unflatten(-2, (-1, 2, s)).unbind(-3)
        below = _dot(
            later * decay_since_start(g_later, before), earlier * decay_until_end(g_earlier)
        )
        first, second = scores.unflatten(-5, (-1, 2)).unbind(-5)
        scores = torch.cat([F.pad(first, (0, 0, 0, s)), torch.cat([below, second], -2)], -4)
        s *= 2
    return scores.squeeze(-5)


def _since_start(g: Tensor, before: Sequence[bool]) -> Tensor:
    after = g.cumsum(-2)
    if not any(before):
        return after[..., None, :]
    shifted = F.pad(after[..., :-1, :], (0, 0, 1, 0))
    return torch.stack([shifted if b else after for b in before], -2)


def _until_end(g: Tensor) -> Tensor:
    return F.pad(g[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)
