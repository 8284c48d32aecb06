"""The labelled cross-entropy in plain PyTorch, on any device; also the training path on CPU.

N rows, D width, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100
"""The target of an unlabelled row."""


def labelled_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_cross_entropy`."""
    losses = _losses(_logits(hidden, weight), targets)
    return losses.sum() / (targets != IGNORE).sum().clamp(min=1)


def labelled_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """See `recall_bench.kernels.labelled_cross_entropy.labelled_losses`."""
    logits = _logits(hidden, weight)
    return _losses(logits, targets), logits.argmax(-1) == targets


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """(N, V), in at least float32."""
    logits = F.linear(hidden, weight)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
