"""Outer products within heads in plain PyTorch, on any device; also the training path on CPU."""

from torch import Tensor


def outer(k: Tensor, v: Tensor) -> Tensor:
    """See `recall_bench.kernels.outer.outer`."""
    k, v = (x.permute(0, 2, 3, 1) for x in (k, v))  # (B, H, p, L)
    return k[:, :, :, None] * v[:, :, None]


def contract(q: Tensor, y: Tensor) -> Tensor:
    """See `recall_bench.kernels.outer.contract`."""
    products = q.permute(0, 2, 3, 1)[:, :, :, None] * y
    out = products[:, :, 0] if q.shape[-1] == 1 else products.sum(2)
    return out.permute(0, 3, 1, 2).to(q.dtype)
