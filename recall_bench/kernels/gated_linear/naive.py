"""Gated linear attention (arXiv 2312.06635, section 4.1), token by token."""

import torch
from torch import Tensor


def gated_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    bonus: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = diag(w_t) S_{t-1} + k_t v_t^T, y_t = S_t^T q_t, and S.

    With a bonus u, y_t = (S_{t-1} + diag(u) k_t v_t^T)^T q_t. q, k (B, L, G, d), v (B, L, H, d_v),
    log_decay (H,), (B, L, H) or (B, L, H, d), u (H, d), S (B, H, d, d_v).
    """
    batch, length, heads = v.shape[:3]
    q, k = (x.repeat_interleave(heads // x.shape[2], 2) for x in (q, k))  # (B, L, H, d)
    if log_decay is None:
        log_decay = v.new_zeros(heads)
    if log_decay.dim() < 4:
        log_decay = log_decay[..., None]
    w = log_decay.exp().expand_as(k)
    S = initial_state
    if S is None:
        S = v.new_zeros(batch, heads, k.shape[-1], v.shape[-1])
    outputs = []
    for t in range(length):
        kv = k[:, t, :, :, None] * v[:, t, :, None]
        before, S = S, w[:, t, :, :, None] * S + kv
        read = S if bonus is None else before + bonus[..., None] * kv
        outputs.append((q[:, t, :, :, None] * read).sum(-2))
    return (torch.stack(outputs, 1) if outputs else v), S
