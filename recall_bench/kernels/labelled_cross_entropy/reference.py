"""The labelled cross-entropy in plain PyTorch, on any device; also the training path on CPU.

N rows, D width, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100
"""The target of a row that asks nothing."""


def labelled_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, mean: bool = True
) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.labelled_cross_entropy`: the mean loss, or a loss a row."""
    logits = F.linear(hidden, weight)  # (N, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    correct = logits.detach().argmax(-1) == targets
    losses = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    if not mean:
        return losses, correct
    return losses.sum() / (targets != IGNORE).sum().clamp(min=1), correct
