"""AdamW with little work for the host and enough for a whole GPU."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from recall_bench.kernels.adamw import adamw
from recall_bench.kernels.adamw.reference import adamw_all

BETAS = (0.9, 0.999)
EPS = 1e-8

LARGE = 65_536
"""On a GPU, tensors of as many numbers are updated one at a time, by a kernel that fills it."""

PIECE = 8192
"""Smaller ones are updated together, in pieces of this size, each by one multiprocessor."""


class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2), by fused kernels.

    Parameters marked by `exempt_from_decay` are not decayed. PyTorch's kernel keeps only a few
    multiprocessors of a GPU busy with a small model, so there it gets pieces of the small tensors,
    and the large ones have a kernel of their own. All state is made here and changed in place,
    ``rate`` included, as a CUDA graph needs it. ``means`` are the running means of the gradients.
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
        for decay, indices in self._groups:
            found = [i for i in indices if self.parameters[i].grad is not None]
            large = [i for i in found if self._cut and self.parameters[i].numel() >= LARGE]
            small = [i for i in found if i not in large]
            for i in large:
                adamw(*self._columns(i), self._count, self.rate, decay, BETAS, EPS)
            if small:
                columns = zip(*(self._columns(i) for i in small), strict=True)
                weights, gradients, first, second = map(self._pieces, columns)
                adamw_all(
                    weights, gradients, first, second, self._count, self.rate, decay, BETAS, EPS
                )

    def _columns(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A parameter, its gradient and both means."""
        parameter = self.parameters[index]
        assert parameter.grad is not None
        return parameter, parameter.grad, self.means[index], self._second[index]

    def _pieces(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        if not self._cut:
            return list(tensors)
        return [part for tensor in tensors for part in tensor.view(-1).split(PIECE)]

    def tensors(self) -> Iterator[Tensor]:
        """All state but the learning rate, which follows from the epoch."""
        yield from (self._count, *self.means, *self._second)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self._count, "first": self.means, "second": self._second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; raises `KeyError` where it is none."""
        kept = [state["count"], *state["first"], *state["second"]]
        with torch.no_grad():
            for mine, theirs in zip(self.tensors(), kept, strict=True):
                mine.copy_(theirs)
