"""Tasks that know how far back each answer lies, and so what a window of tokens can reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from recall_bench.lazy import torch
from recall_bench.tasks.base import BLOCK, IGNORE, Examples, Segment
from recall_bench.tasks.tools.segments import SegmentedTask
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor

Rounding: TypeAlias = "Callable[[Tensor], Tensor]"
"""Rounds gaps (int64, any shape) to the groups that accuracy is reported by."""
SAMPLE = 4096
"""Rows over which a window's share is counted: its standard error is below 0.008."""


class ReachTask(SegmentedTask):
    """A task that knows for every label how large a window must be to hold the token asked for.

    That is the gap: the distance back to the nearest place that shows the answer, plus one.
    Accuracy is reported by its powers of two.
    """

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """``count`` fresh examples, with a slice ``gap`` to which ``rounding`` has been applied."""
        raise NotImplementedError

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh examples; the slice ``gap`` is rounded up to a power of two."""
        return self.draw(segment, generator, count, round_up)

    def guess(self, segment: Segment) -> float:
        """Accuracy of the best guess where the answer is out of reach."""
        return self.chance(segment)

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """Accuracy where answers within the window are right and the others are guessed.

        The share within is counted over `SAMPLE` rows of a fixed seed, so equal calls give equal
        numbers.
        """
        share = _shares(self, segment)[min(max(window, 0), segment.length)].item()
        return self.ceiling(segment) * share + (1 - share) * self.guess(segment)


@lru_cache(maxsize=64)
def _shares(task: ReachTask, segment: Segment) -> Tensor:
    """(length + 1,) float64: the share of an example's labels with a gap of at most the index."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(segment.length + 1, dtype=torch.float64)
    with torch.device("cpu"):
        for _ in range(SAMPLE // BLOCK):
            made = task.draw(segment, generator, BLOCK, torch.Tensor.clone)
            gap, asked = made.slices["gap"], made.labels != IGNORE
            assert isinstance(gap, torch.Tensor)
            each = 1 / asked.sum(1, keepdim=True).double()  # every example weighs the same
            weight.index_add_(0, gap[asked], each.expand_as(gap)[asked])
    return weight.cumsum(0) / SAMPLE
