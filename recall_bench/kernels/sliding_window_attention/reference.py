"""Sliding-window attention in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, H heads, G key-value heads (H a multiple of G), d head dimension, W window.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_BLOCK = 64
"""Smaller blocks cost more in overhead than they save (measured on CPU)."""


class WindowState(NamedTuple):
    """The last W keys and values in a ring: token t lies in slot t mod W."""

    keys: Tensor
    """(B, W, G, d)."""
    values: Tensor
    """(B, W, G, d)."""
    position: Tensor
    """(B,) int64: how many tokens have been seen."""


def window_state(keys: Tensor, values: Tensor, window: int) -> WindowState:
    """The ring after all of ``keys`` and ``values`` (B, L, G, d); slots not yet used hold zeros."""
    batch, length = keys.shape[:2]

    def ring(x: Tensor) -> Tensor:
        if length < window:
            return F.pad(x, (0, 0, 0, 0, 0, window - length))
        return x[:, length - window :].roll(length % window, 1)

    position = torch.full((batch,), length, dtype=torch.int64, device=keys.device)
    return WindowState(ring(keys), ring(values), position)


def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`.

    Blocks of at least a window attend to themselves and the block before; where these two would
    hold the whole sequence, one dense product is quicker.
    """
    groups = q.shape[2] // k.shape[2]
    q, k, v = (
        x.transpose(1, 2)  # (B, H, L, d)
        for x in (q, k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2))
    )
    length, block = q.shape[2], max(window, SMALLEST_BLOCK)
    if window >= length:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    elif length <= 2 * block:
        t = torch.arange(length, device=q.device)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=_in_reach(t, t, window))
    else:
        blocks = -(-length // block)
        fill = blocks * block - length
        t = torch.arange(blocks * block, device=q.device).view(blocks, block)
        y = F.scaled_dot_product_attention(
            F.pad(q, (0, 0, 0, fill)).unflatten(2, (blocks, block)),  # (B, H, N, C, d)
            _with_block_before(k, blocks, block, fill),  # (B, H, N, 2C, d)
            _with_block_before(v, blocks, block, fill),
            attn_mask=_in_reach(t, torch.cat([t - block, t], -1), window),  # (N, C, 2C)
        )
        y = y.flatten(2, 3)[:, :, :length]
    return y.transpose(1, 2)


def sliding_window_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: WindowState
) -> tuple[Tensor, WindowState]:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention_step`."""
    window, groups = state.keys.shape[1], q.shape[1] // k.shape[1]
    slots = torch.arange(window, device=q.device)
    current = (slots == (state.position % window)[:, None])[..., None, None]  # (B, W, 1, 1)
    keys = torch.where(current, k[:, None], state.keys)
    values = torch.where(current, v[:, None], state.values)
    filled = (slots <= state.position[:, None])[:, None, None]  # (B, 1, 1, W)
    y = F.scaled_dot_product_attention(
        q[:, :, None],  # (B, H, 1, d)
        keys.repeat_interleave(groups, 2).transpose(1, 2),  # (B, H, W, d)
        values.repeat_interleave(groups, 2).transpose(1, 2),
        attn_mask=filled,
    )
    return y.squeeze(2), WindowState(keys, values, state.position + 1)


def _in_reach(query: Tensor, key: Tensor, window: int) -> Tensor:
    """Mask (…, queries, keys) from positions (…, queries) and (…, keys); none below 0 is a key."""
    age = query[..., :, None] - key[..., None, :]
    return (age >= 0) & (age < window) & (key >= 0)[..., None, :]


def _with_block_before(x: Tensor, blocks: int, block: int, fill: int) -> Tensor:
    """(B, H, L, d) -> (B, H, N, 2C, d): each block behind the one before it; zeros come first."""
    x = F.pad(x, (0, 0, block, fill)).unflatten(2, (blocks + 1, block))
    return torch.cat([x[:, :, :-1], x[:, :, 1:]], 3)
