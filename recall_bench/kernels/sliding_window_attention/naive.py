"""Sliding-window softmax attention (arXiv 2004.05150, section 3.1, to the past), token by token."""

import torch
from torch import Tensor

from recall_bench.kernels.sliding_window_attention.ring import WindowState


def sliding_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, initial_state: WindowState | None = None
) -> tuple[Tensor, WindowState]:
    """y_t = sum_j softmax_j(q_t.k_j / sqrt(d)) v_j over the window t - W < j <= t; token t enters
    slot t mod W of the ring.

    q (B, L, H, d), k and v (B, L, G, d); state of keys and values (B, W, G, d), position (B,).
    """
    B, L, H, d = q.shape
    G = k.shape[2]
    state = initial_state
    if state is None:
        position = torch.zeros(B, dtype=torch.int64, device=k.device)
        shape = B, window, G, d
        state = WindowState(k.new_zeros(shape), v.new_zeros(shape), position)
    keys, values, position = state
    slots = torch.arange(window, device=k.device)
    outputs = []
    for t in range(L):
        current = (slots == position[:, None] % window)[:, :, None, None]
        keys = torch.where(current, k[:, t, None], keys)
        values = torch.where(current, v[:, t, None], values)
        unused = (slots > position[:, None])[:, None, None]  # (B, 1, 1, W)
        heads = q[:, t].reshape(B, G, H // G, d)  # grouped by shared keys and values
        scores = torch.einsum("bgrd,bwgd->bgrw", heads, keys) / d**0.5
        weights = scores.masked_fill(unused, -torch.inf).softmax(-1)
        outputs.append(torch.einsum("bgrw,bwgd->bgrd", weights, values).reshape(B, H, d))
        position = position + 1
    y = torch.stack(outputs, 1) if outputs else torch.empty_like(q)
    return y, WindowState(keys, values, position)
