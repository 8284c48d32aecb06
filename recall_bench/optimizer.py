"""AdamW with little work for the host and enough for a whole GPU."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 1e-8

PIECE = 8192
"""Numbers handed to PyTorch's kernel as one tensor, on a GPU, where a model is small."""

LARGEST_PIECE = 65_536
"""What that kernel gives one multiprocessor anyway."""


class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2), by PyTorch's fused kernel.

    Parameters marked by `exempt_from_decay` are not decayed. The kernel would keep only a few
    multiprocessors of a GPU busy with a small model, so there it gets pieces of its tensors. All
    state is made here and changed in place, ``rate`` included, as a CUDA graph needs it.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, weight_decay: float):
        self.parameters = list(parameters)
        device = self.parameters[0].device
        self.rate = torch.tensor(rate, device=device)
        self._count = torch.zeros((), device=device)  # of steps
        self._first = [torch.zeros_like(p) for p in self.parameters]
        self._second = [torch.zeros_like(p) for p in self.parameters]
        exempt = [getattr(p, "_no_weight_decay", False) for p in self.parameters]
        self._groups = [
            (decay, [i for i, free in enumerate(exempt) if free == unmarked])
            for decay, unmarked in ((weight_decay, False), (0.0, True))
        ]
        size = sum(p.numel() for p in self.parameters)
        self._piece = max(PIECE, min(LARGEST_PIECE, size // 128)) if device.type == "cuda" else None

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
            if not found:
                continue
            weights = self._pieces(self.parameters[i] for i in found)
            gradients = self._pieces(self.parameters[i].grad for i in found)
            torch._fused_adamw_(
                weights,
                gradients,
                self._pieces(self._first[i] for i in found),
                self._pieces(self._second[i] for i in found),
                [],
                [self._count] * len(weights),
                lr=self.rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPS,
                amsgrad=False,
                maximize=False,
            )

    def _pieces(self, tensors: Iterable[Tensor | None]) -> list[Tensor]:
        whole = [tensor for tensor in tensors if tensor is not None]
        if self._piece is None:
            return whole
        return [part for tensor in whole for part in tensor.view(-1).split(self._piece)]

    def tensors(self) -> Iterator[Tensor]:
        """All state but the learning rate, which follows from the epoch."""
        yield from (self._count, *self._first, *self._second)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self._count, "first": self._first, "second": self._second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; raises `KeyError` where it is none."""
        kept = [state["count"], *state["first"], *state["second"]]
        with torch.no_grad():
            for mine, theirs in zip(self.tensors(), kept, strict=True):
                mine.copy_(theirs)
