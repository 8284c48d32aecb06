"""Based's linear attention (arXiv 2402.18668, section 4) as a recurrence, token by token."""

import torch
from torch import Tensor

from recall_bench.kernels.taylor_attention.features import TaylorState, feature_map, packed_size


def taylor_attention(
    q: Tensor, k: Tensor, v: Tensor, initial_state: TaylorState | None = None
) -> tuple[Tensor, TaylorState]:
    """S_t = S_{t-1} + phi(k_t) v_t^T, z_t = z_{t-1} + phi(k_t),
    y_t = phi(q_t) S_t / (phi(q_t).z_t + 1e-12), and the last S and z.

    q and k (B, L, H, d), v (B, L, H, dv); state S (B, H, P, dv) and z (B, H, P).
    """
    B, L, H, d = q.shape
    if initial_state is None:
        S, z = v.new_zeros(B, H, packed_size(d), v.shape[3]), v.new_zeros(B, H, packed_size(d))
    else:
        S, z = initial_state
    outputs = []
    for t in range(L):
        phi_q, phi_k = feature_map(q[:, t]), feature_map(k[:, t])  # (B, H, P)
        S = S + phi_k[..., None] * v[:, t, :, None]
        z = z + phi_k
        numerator = torch.einsum("bhp,bhpv->bhv", phi_q, S)
        outputs.append(numerator / ((phi_q * z).sum(-1, keepdim=True) + 1e-12))
    return (torch.stack(outputs, 1) if outputs else torch.empty_like(v)), TaylorState(S, z)
