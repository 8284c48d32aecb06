"""Sliding-window attention by the package flash-attn (arXiv 2307.08691)."""

import torch
from torch import Tensor

from recall_bench.kernels.attention.flash_attn import unavailable
from recall_bench.kernels.plumbing.optional import import_optional
from recall_bench.kernels.sliding_window_attention.ring import WindowState, ring

__all__ = ["sliding_window_attention", "unavailable"]

_package = import_optional("flash_attn", "flash-attn")


def sliding_window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, return_state: bool = False
) -> Tensor | tuple[Tensor, WindowState]:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`.

    The package counts the keys before the current one; ``window`` includes the current one.
    """
    if q.numel() == 0:
        y = torch.empty_like(q)
    else:
        y = _package.flash_attn_func(
            q, k.to(q.dtype), v.to(q.dtype), causal=True, window_size=(window - 1, 0)
        )
    return (y, ring(k, v, window)) if return_state else y
