"""Softmax cross-entropy of a linear read-out at labelled positions, without storing the logits."""

import torch
from torch import Tensor

from recall_bench.kernels.plumbing import dispatch

__all__ = ["labelled_cross_entropy", "labelled_losses"]


def labelled_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, backend: str = "auto"
) -> Tensor:
    """The mean of -log softmax(hidden_n . weight)[target_n] over the labelled rows.

    Differentiable in ``hidden`` and ``weight``. Under autocast the products take its dtype;
    sums are always in float32.

    Args:
        hidden: (N, D); any N, also 0.
        weight: (V, D), one row per token.
        targets: (N,) int64 in 0 … V-1, or -100 for an unlabelled row.
        backend: "auto", "reference" or "triton".

    Returns:
        The loss in nats, a float32 scalar; 0 if no row is labelled.
    """
    run = dispatch.implementation("labelled_cross_entropy", backend, hidden)
    return run(hidden, weight, targets)


def labelled_losses(
    hidden: Tensor, weight: Tensor, targets: Tensor, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """`labelled_cross_entropy` row by row, and which rows are right: for evaluation, no gradient.

    Returns:
        The losses in nats, (N,) float32, 0 for unlabelled rows; and which rows have their largest
        logit, the first of equal ones, at their target: (N,) bool.
    """
    run = dispatch.implementation("labelled_cross_entropy", backend, hidden, "labelled_losses")
    with torch.no_grad():
        return run(hidden, weight, targets)
