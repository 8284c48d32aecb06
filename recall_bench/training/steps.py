"""Optimiser steps on the batches of an epoch, as PyTorch runs them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recall_bench.config import TrainingConfig
from recall_bench.kernels.plumbing.side import Side, beside
from recall_bench.model.backbone import Model
from recall_bench.training.batches import Batch, SegmentData
from recall_bench.training.optimizer import AdamW
from recall_bench.training.scoring import query_loss


class Steps:
    """Takes optimiser steps and sums their losses over an epoch, on the device.

    ``loss`` is the sum of the cross-entropies; ``auxiliary`` holds those of the mixers' auxiliary
    losses by name.
    """

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
        self.auxiliary: dict[str, Tensor] = {}

    def begin_epoch(self) -> None:
        """Set all sums to zero."""
        for total in (self.loss, *self.auxiliary.values()):
            total.zero_()

    def sums(self) -> dict[str, Tensor]:
        """All sums by name, for a checkpoint; that of the cross-entropies has the empty name."""
        return {"": self.loss, **self.auxiliary}

    def load_sums(self, sums: Mapping[str, Tensor]) -> None:
        """Continue from the `sums` of a checkpoint."""
        for name, total in sums.items():
            if name:
                self.auxiliary.setdefault(name, torch.zeros_like(self.loss)).copy_(total)
            else:
                self.loss.copy_(total)

    def take(self, index: int, start: int) -> int:
        """One step on rows ``start`` on of segment ``index``; returns its number of tokens."""
        batch = self.data[index].batch(start, self.recipe.batch_size)
        self.loss += self._update(batch)
        return batch.inputs.numel()

    def _update(self, batch: Batch) -> Tensor:
        """The detached mean loss over the queries of the batch, before the step."""
        loss = query_loss(self.model, batch)
        objective = loss
        for name, value in self.model.losses().items():
            objective = objective + value
            if name not in self.auxiliary:
                self.auxiliary[name] = torch.zeros_like(self.loss)
            self.auxiliary[name] += value.detach()
        self.optimizer.zero_grad()
        with beside(self._side):
            objective.backward()
        if self.recipe.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        self.model.dropout_seed += 1
        return loss.detach()
