"""Tasks of one segment, and what a window reaches of them."""

from typing import TypeVar

import torch

from recall_bench.tasks import IGNORE, Examples, Segment, Task, generate

AnyTask = TypeVar("AnyTask", bound=Task)


def on(cls: type[AnyTask], segment: str, **options: object) -> AnyTask:
    """The task with one segment, or more in text, for every split."""
    return cls(train=segment, validation=segment, test=segment, **options)


def made(task: Task, seed: int = 0) -> Examples:
    """All examples of the first training segment."""
    return generate(task, "train", 0, seed)


def assert_windows_reach(task: Task, segment: Segment, examples: Examples, guess: float) -> None:
    """`window_ceiling` is the share of answers whose gap is within reach, and ``guess`` elsewhere.

    Gaps are rounded up to powers of two, so windows that are powers of two are exact.
    """
    gap = examples.slices["gap"]
    assert isinstance(gap, torch.Tensor)
    asked = examples.labels != IGNORE
    for window in (1, 2, 4, 8, 16, 32, 64, 4096):
        within = (asked & (gap <= window)).sum(1) / asked.sum(1)  # examples weigh the same
        share = float(within.double().mean())
        ceiling = task.window_ceiling(segment, window)
        assert ceiling is not None
        assert abs(ceiling - (share + (1 - share) * guess)) < 0.02, (window, ceiling, share)
