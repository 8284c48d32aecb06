"""Eagle's time mixing (arXiv 2404.05892, section 4.1), token by token."""

import torch
from torch import Tensor


def wkv(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    bonus: Tensor,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_t = r_t (S_{t-1} + diag(u) k_t v_t^T), S_t = diag(w) S_{t-1} + k_t v_t^T, and S.

    r, k (B, L, H, d), v (B, L, H, d_v), log_decay, bonus (H, d), S (B, H, d, d_v).
    """
    S = initial_state
    if S is None:
        S = r.new_zeros(r.shape[0], *r.shape[2:], v.shape[-1])
    outputs = []
    for t in range(r.shape[1]):
        kv = k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append((r[:, t, :, :, None] * (S + bonus[..., None] * kv)).sum(-2))
        S = log_decay.exp()[..., None] * S + kv
    return (torch.stack(outputs, 1) if outputs else v), S
