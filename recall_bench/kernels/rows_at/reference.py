"""Rows at a few positions in plain PyTorch, on any device; also the training path on CPU."""

from torch import Tensor


def rows_at(x: Tensor, positions: Tensor) -> Tensor:
    """See `recall_bench.kernels.rows_at.rows_at`."""
    index = positions.view(*positions.shape, *[1] * (x.dim() - 2))
    return x.gather(1, index.expand(-1, -1, *x.shape[2:]))
