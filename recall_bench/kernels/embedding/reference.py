"""Embedding lookup in plain PyTorch, on any device; also the training path on CPU."""

from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.embedding.order import TokenOrder


def embedding(tokens: Tensor, weight: Tensor, order: TokenOrder | None = None) -> Tensor:
    """See `recall_bench.kernels.embedding.embedding`; PyTorch needs no order."""
    return F.embedding(tokens, weight)
