"""RWKV-4's recurrence in plain PyTorch, on any device; also the training path.

B batch, L length, D width.
"""

from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.precision import without_autocast
from recall_bench.kernels.wkv4 import WKV4State

EMPTY = -1e38
"""The exponent of an empty sum; finite, so that the difference of two is not NaN."""


def wkv4(
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    initial_state: Any = None,
    return_state: bool = False,
) -> Any:
    """See `recall_bench.kernels.wkv4.wkv4`.

    All prefixes are summed at once in log2(L) steps: step i adds the sums of the 2^i tokens before.
    Each sum is kept with an exponent of its own, so that nothing overflows, and no output depends
    on a later token, as it would by rounding with one exponent for the whole sequence.
    """
    dtype = torch.promote_types(k.dtype, torch.float32)
    k, v, log_decay, bonus = (x.to(dtype) for x in (k, v, log_decay, bonus))
    with without_autocast(k.device):
        n, e, m = _first(k, initial_state)
        n, e, m = (torch.cat(pair, 1) for pair in ((n, v), (e, torch.ones_like(k)), (m, k)))
        span, count = 1, k.shape[1] + 1  # the state, then the tokens
        while span < count:
            earlier = n[:, :-span], e[:, :-span], m[:, :-span] + span * log_decay
            joined = _add(earlier, (n[:, span:], e[:, span:], m[:, span:]))
            n, e, m = (
                torch.cat([whole[:, :span], part], 1)
                for whole, part in zip((n, e, m), joined, strict=True)
            )
            span *= 2
        past = n[:, :-1], e[:, :-1], m[:, :-1]
        numerator, denominator, _ = _add(past, (v, torch.ones_like(k), bonus + k))
        y = numerator / denominator
    return (y, WKV4State(n[:, -1], e[:, -1], m[:, -1])) if return_state else y


def _first(k: Tensor, state: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The sums before the first token, (B, 1, D) each."""
    if state is None:
        zeros = torch.zeros_like(k[:, :1]) if k.shape[1] else k.new_zeros(len(k), 1, k.shape[2])
        return zeros, zeros, torch.full_like(zeros, EMPTY)
    n, e, m = (part[:, None].to(k.dtype) for part in state)
    return n, e, m.where(e > 0, EMPTY)


def _add(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of n exp(m), and of e exp(m), with the larger exponent of both."""
    (n, e, m), (n2, e2, m2) = one, other
    largest = torch.maximum(m, m2)
    a, b = torch.exp(m - largest), torch.exp(m2 - largest)
    return a * n + b * n2, a * e + b * e2, largest
