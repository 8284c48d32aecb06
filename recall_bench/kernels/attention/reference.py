"""Causal attention by PyTorch, which has fast kernels for most devices and dtypes.

B batch, L length, S tokens of the initial state, H heads, G key-value heads, d head dimension.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.attention.cache import Cache

State = Mapping[str, Tensor]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: State | None = None,
    return_state: bool = False,
    state_out: State | None = None,
) -> Tensor | tuple[Tensor, State]:
    """See `recall_bench.kernels.attention.attention`."""
    if initial_state is None:
        y = _attend(q, k, v)
        return (y, {"keys": k.contiguous(), "values": v.contiguous()}) if return_state else y
    state: State
    if isinstance(state_out, Cache) and state_out is initial_state:
        state_out.append({"keys": k, "values": v})
        state = state_out
    else:
        new = {"keys": k, "values": v}
        state = {
            name: torch.cat([initial_state[name].to(x.dtype), x], 1) for name, x in new.items()
        }
    y = _attend(q, state["keys"].to(k.dtype), state["values"].to(v.dtype))
    return (y, state) if return_state else y


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q (B, L, H, d), k and v (B, S + L, G, d) -> (B, L, H, d)."""
    if q.shape[2] != k.shape[2]:
        group = q.shape[2] // k.shape[2]
        k, v = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, H, ·, d)
    length, earlier = q.shape[2], k.shape[2] - q.shape[2]
    if earlier == 0:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    elif length == 1:
        y = F.scaled_dot_product_attention(q, k, v)
    else:
        seen = q.new_ones(length, earlier + length, dtype=torch.bool).tril(earlier)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    return y.transpose(1, 2)
