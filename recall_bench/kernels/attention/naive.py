"""Causal softmax attention (arXiv 1706.03762, equation 1), token by token."""

import torch
from torch import Tensor

State = dict[str, Tensor]


def attention(
    q: Tensor, k: Tensor, v: Tensor, initial_state: State | None = None
) -> tuple[Tensor, State]:
    """y_t = sum_j softmax_j(q_t.k_j / sqrt(d)) v_j over all j <= t, and all keys and values.

    q (B, L, H, d), k and v (B, L, G, d); state of keys and values (B, tokens, G, d).
    """
    B, L, H, d = q.shape
    G = k.shape[2]
    keys, values = k[:, :0], v[:, :0]
    if initial_state is not None:
        keys, values = initial_state["keys"], initial_state["values"]
    outputs = []
    for t in range(L):
        keys, values = torch.cat([keys, k[:, t, None]], 1), torch.cat([values, v[:, t, None]], 1)
        heads = q[:, t].reshape(B, G, H // G, d)  # grouped by shared keys and values
        weights = (torch.einsum("bgrd,bjgd->bgrj", heads, keys) / d**0.5).softmax(-1)
        outputs.append(torch.einsum("bgrj,bjgd->bgrd", weights, values).reshape(B, H, d))
    y = torch.stack(outputs, 1) if outputs else torch.empty_like(q)
    return y, {"keys": keys, "values": values}
