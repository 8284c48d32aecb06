"""RWKV's token shift (arXiv 2404.05892, section 4.1), token by token."""

import torch
from torch import Tensor


def token_mix(
    x: Tensor, mix: Tensor, initial_state: Tensor | None = None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """mix_n x_t + (1 - mix_n) x_{t-1} for each n, and the last token: x (B, L, D), mix (N, D)."""
    last = x.new_zeros(x.shape[0], x.shape[2]) if initial_state is None else initial_state
    outputs: list[list[Tensor]] = [[] for _ in mix]
    for token in x.unbind(1):
        for ratio, mixed in zip(mix, outputs, strict=True):
            mixed.append(ratio * token + (1 - ratio) * last)
        last = token
    return tuple(torch.stack(mixed, 1) if mixed else x for mixed in outputs), last
