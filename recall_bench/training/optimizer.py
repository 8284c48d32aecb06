"""AdamW in few kernel launches, each of which fills a GPU."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.adamw import adamw, reference

BETAS = (0.9, 0.999)
EPS = 1e-8

LARGE = 65_536
"""Tensors of at least this size are updated one at a time on a GPU, by a kernel that fills it."""

PIECE = 8192
"""Smaller tensors are updated together, in pieces of this size, one per multiprocessor."""


class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2), by fused kernels.

    Parameters marked by `exempt_from_decay` are not decayed. PyTorch's kernel keeps only a few
    multiprocessors of a GPU busy with a small model, so there it gets pieces of the small tensors,
    and the large ones have a kernel of their own. All state, ``rate`` included, is allocated here
    and updated in place, as CUDA graphs require. ``means`` are the running means of the gradients.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, weight_decay: float):
        self.parameters = list(parameters)
        device = self.parameters[0].device
        self.rate = torch.tensor(rate, device=device)
        self._count = torch.zeros((), device=device)  # of steps
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self._second = [torch.zeros_like(p) for p in self.parameters]
        exempt = [getattr(p, "_no_weight_decay", False) for p in self.parameters]
        self._groups = [
            (decay, [i for i, free in enumerate(exempt) if free == unmarked])
            for decay, unmarked in ((weight_decay, False), (0.0, True))
        ]
        self._cut = device.type == "cuda"

    def set_rate(self, rate: float) -> None:
        """The learning rate from now on."""
        self.rate.fill_(rate)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        self._count += 1
        for decay, group in self._groups:
            with_gradient = [i for i in group if self.parameters[i].grad is not None]
            large = [i for i in with_gradient if self._cut and self.parameters[i].numel() >= LARGE]
            small = [i for i in with_gradient if i not in large]
            for update, indices in ((adamw, large), (reference.adamw, small)):
                if indices:
                    update(
                        self._pieces(self.parameters[i] for i in indices),
                        self._pieces(self.parameters[i].grad for i in indices),
                        self._pieces(self.means[i] for i in indices),
                        self._pieces(self._second[i] for i in indices),
                        self._count,
                        self.rate,
                        decay,
                        BETAS,
                        EPS,
                    )

    def _pieces(self, tensors: Iterable[Tensor | None]) -> list[Tensor]:
        """The tensors; on a GPU, pieces of those that are not large."""
        whole = [tensor for tensor in tensors if tensor is not None]
        if not self._cut:
            return whole
        cut = (x.view(-1).split(PIECE) if x.numel() < LARGE else (x,) for x in whole)
        return [piece for pieces in cut for piece in pieces]

    def tensors(self) -> Iterator[Tensor]:
        """All state but the learning rate, which the epoch determines."""
        yield from (self._count, *self.means, *self._second)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self._count, "first": self.means, "second": self._second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; raises `KeyError` for anything else."""
        kept = [state["count"], *state["first"], *state["second"]]
        with torch.no_grad():
            for mine, theirs in zip(self.tensors(), kept, strict=True):
                mine.copy_(theirs)
