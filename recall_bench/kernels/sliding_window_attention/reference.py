"""Sliding-window attention in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, H heads, G key-value heads (H a multiple of G), d head dimension, W window.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.sliding_window_attention.ring import WindowState, ring, rolled, unrolled

SMALLEST_BLOCK = 64
"""Smaller blocks cost more in overhead than they save (measured on CPU)."""


def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    initial_state: WindowState | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, WindowState]:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`."""
    if initial_state is None:
        y = _attend(q, k, v, window)
        return (y, ring(k, v, window)) if return_state else y
    keys, values, position = initial_state
    keys = torch.cat([unrolled(keys.to(k.dtype), position), k], 1)  # (B, W+L, G, d)
    values = torch.cat([unrolled(values.to(v.dtype), position), v], 1)
    length, few = (
        q.shape[1],
        min(q.shape[1], window - 1),
    )  # later queries see only keys of this call
    y = _attend_ring(q[:, :few], keys[:, : window + few], values[:, : window + few], position)
    if few < length:
        y = torch.cat([y, _attend(q, k, v, window)[:, few:]], 1)
    if not return_state:
        return y
    position = position + length
    return y, WindowState(
        rolled(keys[:, length:], position), rolled(values[:, length:], position), position
    )


def sliding_window_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    initial_state: WindowState,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, WindowState]:
    """One token; the order of the keys does not matter, so the ring stays as it is."""
    keys, values, position = initial_state
    group = q.shape[2] // k.shape[2]
    slots = torch.arange(window, device=q.device)
    current = (slots == (position % window)[:, None])[..., None, None]  # (B, W, 1, 1)
    keys = torch.where(current, k, keys.to(k.dtype))
    values = torch.where(current, v, values.to(v.dtype))
    filled = (slots <= position[:, None])[:, None, None]  # (B, 1, 1, W)
    y = F.scaled_dot_product_attention(
        q.transpose(1, 2),  # (B, H, 1, d)
        keys.repeat_interleave(group, 2).transpose(1, 2),  # (B, H, W, d)
        values.repeat_interleave(group, 2).transpose(1, 2),
        attn_mask=filled,
    ).transpose(1, 2)
    return (y, WindowState(keys, values, position + 1)) if return_state else y


def _attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """A whole sequence: q (B, L, H, d), k and v (B, L, G, d) -> (B, L, H, d).

    Blocks of at least a window attend to themselves and the block before; if these two would hold
    the whole sequence, one dense product is faster.
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


def _attend_ring(q: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
    """n < W tokens after an unrolled ring: q (B, n, H, d), keys and values (B, W + n, G, d)."""
    window, group = keys.shape[1] - q.shape[1], q.shape[2] // keys.shape[2]
    query = position[:, None] + torch.arange(q.shape[1], device=q.device)  # (B, n)
    key = position[:, None] + torch.arange(-window, q.shape[1], device=q.device)  # (B, W + n)
    return F.scaled_dot_product_attention(
        q.transpose(1, 2),  # (B, H, n, d)
        keys.repeat_interleave(group, 2).transpose(1, 2),
        values.repeat_interleave(group, 2).transpose(1, 2),
        attn_mask=_in_reach(query, key, window)[:, None],  # (B, 1, n, W + n)
    ).transpose(1, 2)


def _in_reach(query: Tensor, key: Tensor, window: int) -> Tensor:
    """Mask (…, queries, keys) of positions (…, queries) and (…, keys); keys below 0 are masked."""
    age = query[..., :, None] - key[..., None, :]
    return (age >= 0) & (age < window) & (key >= 0)[..., None, :]


def _with_block_before(x: Tensor, blocks: int, block: int, fill: int) -> Tensor:
    """(B, H, L, d) -> (B, H, N, 2C, d): each block after its predecessor, the first after zeros."""
    x = F.pad(x, (0, 0, block, fill)).unflatten(2, (blocks + 1, block))
    return torch.cat([x[:, :, :-1], x[:, :, 1:]], 3)
