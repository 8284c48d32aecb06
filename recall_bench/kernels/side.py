"""Gradients of parameters on a second CUDA stream: nothing in the backward pass waits for them.

A small model's kernels leave parts of a GPU idle, at their ends above all. In a CUDA graph the
second stream becomes a branch, whose kernels run beside those of the first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Side:
    """A second stream, and what its work still reads."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._read: list[tuple[Tensor, ...]] = []

    def run(self, work: Callable[..., None], *read: Tensor) -> None:
        """``work(*read)`` once all that was asked for so far is done; `join` says when it is."""
        self._stream.wait_stream(torch.cuda.current_stream())
        self._read.append(read)  # until then the first stream may not write to its memory
        with torch.cuda.stream(self._stream):
            work(*read)

    def join(self) -> None:
        """What the current stream does from now on comes after all that was run."""
        if self._read:
            torch.cuda.current_stream().wait_stream(self._stream)
            self._read.clear()


_current: Side | None = None


@contextmanager
def beside(side: Side | None) -> Iterator[None]:
    """Let `aside` use a second stream in the block, which ends when all is done.

    For backward passes that begin from no gradient: a second one would be added to a parameter's
    first while that is still written.
    """
    global _current
    _current = side
    try:
        yield
    finally:
        _current = None
        if side is not None:
            side.join()


def aside(work: Callable[..., None], *read: Tensor) -> None:
    """Do ``work(*read)``, which writes what nobody reads before the block of `beside` ends.

    It may write to tensors made before, not to those that it reads.
    """
    if _current is None:
        work(*read)
    else:
        _current.run(work, *read)
