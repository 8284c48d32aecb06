"""The delta rules (arXiv 2406.06484, 2412.06464, 2503.14456), token by token."""

import torch
from torch import Tensor


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
) -> tuple[Tensor, Tensor]:
    """y and S: S' = diag(w) S_{t-1}, S_t = S' + beta k (v - S'^T k)^T, y = S_t^T q; see `delta`.

    q (B, L, H, d_k), k (B, L, [W,] H, d_k), v (B, L, [W,] H, d_v), beta (B, L, [W,] H), log_decay
    (B, L, H, [d_k]), a, b like k, S (B, H, d_k, d_v).
    """
    if k.dim() == 4:
        k, v = k.unsqueeze(2), v.unsqueeze(2)
        beta, a, b = (None if x is None else x.unsqueeze(2) for x in (beta, a, b))
    S = initial_state
    if S is None:
        S = v.new_zeros(q.shape[0], *q.shape[2:], v.shape[-1])
    outputs = []
    for t in range(q.shape[1]):
        before = S
        if log_decay is not None:
            w = log_decay[:, t].exp()
            S = (w if w.dim() == 3 else w[..., None])[..., None] * S
        for i in range(k.shape[2]):
            k_t, v_t = k[:, t, i], v[:, t, i]  # (B, H, d)
            read = before if remove == "before" and i == 0 else S
            if beta is not None:
                error = v_t - (k_t[..., None] * read).sum(-2)
                S = S + beta[:, t, i, :, None, None] * k_t[..., None] * error[..., None, :]
            else:
                assert a is not None
                assert b is not None
                removed = (a[:, t, i, :, :, None] * read).sum(-2)
                S = S + b[:, t, i, :, :, None] * removed[..., None, :]
                S = S + k_t[..., None] * v_t[..., None, :]
        outputs.append((q[:, t, :, :, None] * S).sum(-2))
    return (torch.stack(outputs, 1) if outputs else v[:, :, 0]), S
