"""Causal attention by the package flash-attn (arXiv 2307.08691)."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing.optional import import_optional, unavailable_for

HEAD_LIMIT = 256

_package = import_optional("flash_attn", "flash-attn")


def unavailable(op: str, tensor: Tensor) -> str | None:
    """The reason the package cannot run on a q like ``tensor``, or None."""
    if tensor.dim() and tensor.shape[-1] > HEAD_LIMIT:
        return f"it takes heads of at most {HEAD_LIMIT} numbers, not {tensor.shape[-1]}"
    return unavailable_for(tensor, (torch.bfloat16, torch.float16))


def attention(
    q: Tensor, k: Tensor, v: Tensor, return_state: bool = False
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """See `recall_bench.kernels.attention.attention`."""
    if q.numel() == 0:
        y = torch.empty_like(q)
    else:
        y = _package.flash_attn_func(q, k.to(q.dtype), v.to(q.dtype), causal=True)
    return (y, {"keys": k.contiguous(), "values": v.contiguous()}) if return_state else y
