"""Optimiser steps on the batches of an epoch, as PyTorch runs them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recall_bench.config import TrainingConfig
from recall_bench.kernels.plumbing.side import Side, beside
from recall_bench.model.backbone import Model
from recall_bench.training.batches import Batch, SegmentData
from recall_bench.training.optimizer import AdamW
from recall_bench.training.scoring import query_loss


class Steps:
    """Takes optimiser steps and sums their losses, on the device, in ``loss``."""

    how = "eager"
    """How the steps run, for the record."""
    graphs = False
    """Whether they are CUDA graphs."""
    _side: Side | None = None

    def __init__(
        self,
        model: Model,
        optimizer: AdamW,
        data: Sequence[SegmentData],
        recipe: TrainingConfig,
    ):
        self.model, self.optimizer, self.data, self.recipe = model, optimizer, data, recipe
        device = next(model.parameters()).device
        self.loss = torch.zeros((), dtype=torch.float64, device=device)

    def take(self, index: int, start: int) -> int:
        """One step on rows ``start`` on of segment ``index``; returns its number of tokens."""
        batch = self.data[index].batch(start, self.recipe.batch_size)
        self.loss += self._update(batch)
        return batch.inputs.numel()

    def _update(self, batch: Batch) -> Tensor:
        """The detached mean loss over the queries of the batch, before the step."""
        loss = query_loss(self.model, batch)
        self.optimizer.zero_grad()
        with beside(self._side):
            loss.backward()
        if self.recipe.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        self.model.dropout_seed += 1
        return loss.detach()
