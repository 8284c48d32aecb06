"""Gradients of parameters on a second CUDA stream: nothing in the backward pass waits for them.

A small model's kernels leave parts of a GPU idle, at their ends above all. In a CUDA graph the
second stream becomes a branch, whose kernels run beside those of the first.

Autograd never sees such a gradient, for it would read it at once wherever a parameter is used
twice. It comes into the parameter's ``grad`` when all is done.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Side:
    """A second stream, what its work reads, and what it has found."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._read: list[tuple[Any, ...]] = []
        self._found: list[tuple[Tensor, Tensor]] = []

    def run(
        self,
        owners: Sequence[Tensor | None],
        work: Callable[..., Sequence[Tensor | None]],
        read: tuple[Any, ...],
    ) -> None:
        """``work(*read)`` once all that was asked for so far is done."""
        self._stream.wait_stream(torch.cuda.current_stream())
        self._read.append(read)  # until the end the first stream may not write to its memory
        with torch.cuda.stream(self._stream):
            self._keep(owners, work(*read))

    def _keep(self, owners: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> None:
        for owner, gradient in zip(owners, gradients, strict=True):
            if owner is not None and gradient is not None:
                self._found.append((owner, gradient.contiguous()))

    @torch.no_grad()
    def join(self) -> None:
        """Add what was found to the parameters' gradients, after all that was run."""
        if self._read:
            torch.cuda.current_stream().wait_stream(self._stream)
        for owner, gradient in self._found:
            owner.grad = gradient if owner.grad is None else owner.grad.add_(gradient)
        self._read.clear()
        self._found.clear()


_current: Side | None = None


@contextmanager
def beside(side: Side | None) -> Iterator[None]:
    """Let `aside` use a second stream in the block; gradients are complete when it ends."""
    global _current
    _current = side
    try:
        yield
    finally:
        _current = None
        if side is not None:
            side.join()


def aside(
    owners: Sequence[Tensor | None],
    work: Callable[..., Sequence[Tensor | None]],
    *read: Any,
) -> Sequence[Tensor | None]:
    """What a backward pass returns for ``owners``: their gradients ``work(*read)``, or Nones.

    Nones where the gradients are left to the second stream of `beside`. That wants parameters:
    others have gradients that autograd reads. Nobody may write to what is read.
    """
    given = [owner for owner in owners if owner is not None]
    if _current is None or not all(x.is_leaf and x.requires_grad for x in given):
        return work(*read)
    _current.run(owners, work, read)
    return [None] * len(owners)
