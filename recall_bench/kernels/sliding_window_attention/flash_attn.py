"""Sliding-window attention by the package flash-attn (arXiv 2307.08691)."""

from torch import Tensor

from recall_bench.kernels.attention.flash_attn import unavailable
from recall_bench.kernels.plumbing.optional import import_optional
from recall_bench.kernels.sliding_window_attention import reference

__all__ = ["sliding_window_attention", "unavailable"]

_package = import_optional("flash_attn", "flash-attn")


def sliding_window_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """See `recall_bench.kernels.sliding_window_attention.sliding_window_attention`.

    The package counts the keys before the current one: ours is among the ``window``.
    """
    if q.numel() == 0:
        return reference.sliding_window_attention(q, k, v, window)
    y: Tensor = _package.flash_attn_func(
        q, k.to(q.dtype), v.to(q.dtype), causal=True, window_size=(window - 1, 0)
    )
    return y
