"""Taylor linear attention in plain PyTorch, on any device; also the training path on CPU.

B batch, L length, H heads, d feature dimension, dv value dimension, P packed features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.precision import without_autocast
from recall_bench.kernels.taylor_attention.features import TaylorState, feature_map

CHUNK = 512
"""Up to this length the closed form is cheaper than the expanded features (measured on a CPU)."""

ROWS = 64
"""Queries scored at once; each block skips the keys after its last query."""

EPS = 1e-12


def taylor_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState | None = None,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, TaylorState]:
    """See `recall_bench.kernels.taylor_attention.taylor_attention`.

    It uses the closed form on the scores inside a chunk, and the state between chunks.
    """
    with without_autocast(q.device):
        dtype = torch.promote_types(q.dtype, torch.float32)
        Q, K, V = (_pieces(x.to(dtype).transpose(1, 2), CHUNK) for x in (q, k, v))
        outputs: list[Tensor] = []
        state = initial_state
        for i, chunk in enumerate(zip(Q, K, V, strict=True)):  # (B, H, C, ·)
            outputs.append(_attend(*chunk, state))
            if return_state or i + 1 < len(Q):
                state = _update(*chunk[1:], state)
        y = _joined(outputs).transpose(1, 2).to(v.dtype)
    if not return_state:
        return y
    assert state is not None  # an empty sequence has one, empty, chunk
    return y, state


def taylor_attention_at(q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """See `recall_bench.kernels.taylor_attention.taylor_attention_at`."""
    with without_autocast(q.device):
        dtype = torch.promote_types(q.dtype, torch.float32)
        Q, K, V = (x.to(dtype).transpose(1, 2) for x in (q * q.shape[-1] ** -0.5, k, v))
        t = 1 + Q @ K.mT  # 1 + s, (B, H, Q, L)
        seen = torch.arange(k.shape[1], device=k.device) <= positions[:, None, :, None]
        weights = torch.where(seen, 0.5 + 0.5 * t * t, 0.0)
        y = (weights @ V) / (weights.sum(-1, keepdim=True) + EPS)
        return y.transpose(1, 2).to(v.dtype)


def taylor_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: TaylorState,
    return_state: bool = False,
) -> Tensor | tuple[Tensor, TaylorState]:
    """One token: the query reads the new state, so that no products within a chunk are needed."""
    with without_autocast(q.device):
        kv, z = initial_state
        phi_q, phi_k = feature_map(q[:, 0].to(z.dtype)), feature_map(k[:, 0].to(z.dtype))
        kv = kv + phi_k[..., None] * v[:, 0].to(kv.dtype)[..., None, :]
        z = z + phi_k
        numerator = (phi_q[..., None, :] @ kv).squeeze(-2)
        denominator = (phi_q * z).sum(-1, keepdim=True)
        y = (numerator / (denominator + EPS)).to(v.dtype)[:, None]
    return (y, TaylorState(kv, z)) if return_state else y


def _attend(q: Tensor, k: Tensor, v: Tensor, state: TaylorState | None) -> Tensor:
    """One chunk after ``state``: q, k (B, H, C, d), v (B, H, C, dv) -> (B, H, C, dv)."""
    numerators, denominators = [], []
    half = q.new_full((), 0.5)
    for i, rows in enumerate(_pieces(q * (2 * q.shape[-1]) ** -0.5, ROWS)):
        seen = i * ROWS + rows.shape[2]
        t = 0.5**0.5 + rows @ k[:, :, :seen].transpose(-1, -2)  # (1 + s) / sqrt 2: (B, H, R, seen)
        weights = torch.addcmul(half, t, t).tril_(i * ROWS)  # 1 + s + s^2/2
        numerators.append(weights @ v[:, :, :seen])
        denominators.append(weights.sum(-1, keepdim=True))
    numerator, denominator = _joined(numerators), _joined(denominators)
    if state is not None:
        phi_q = feature_map(q)
        numerator = numerator + phi_q @ state.kv
        denominator = denominator + phi_q @ state.z[..., None]
    return numerator / (denominator + EPS)


def _pieces(x: Tensor, size: int) -> Sequence[Tensor]:
    """x (B, H, L, ·) split along L; a single piece is x itself, which saves a copy each way."""
    return x.split(size, 2) if x.shape[2] > size else (x,)


def _joined(pieces: list[Tensor]) -> Tensor:
    return torch.cat(pieces, 2) if len(pieces) > 1 else pieces[0]


def _update(k: Tensor, v: Tensor, state: TaylorState | None) -> TaylorState:
    """``state`` after the keys and values of one chunk."""
    phi_k = feature_map(k)  # (B, H, C, P)
    kv, z = phi_k.transpose(-1, -2) @ v, phi_k.sum(-2)
    return TaylorState(kv, z) if state is None else TaylorState(state.kv + kv, state.z + z)
