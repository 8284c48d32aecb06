"""Holding a task against a solver: a function from a row of inputs to {position: answer}."""

from collections.abc import Callable
from typing import TypeVar

import torch

from recall_bench.tasks import IGNORE, Examples, Segment, Task, generate

AnyTask = TypeVar("AnyTask", bound=Task)
Solver = Callable[[list[int]], dict[int, int]]


def on(cls: type[AnyTask], segment: str, **options: object) -> AnyTask:
    """The task with one segment, or more in text, for every split."""
    return cls(train=segment, validation=segment, test=segment, **options)


def made(task: Task, seed: int = 0, split: str = "train", index: int = 0) -> Examples:
    """All examples of one segment."""
    return generate(task, split, index, seed)  # type: ignore[arg-type]


def assert_solved(examples: Examples, solve: Solver, *, extra: bool = False) -> None:
    """The solver gives exactly the labels; with ``extra`` it may answer where nothing is asked."""
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        asked = {at: label for at, label in enumerate(labels) if label != IGNORE}
        answers = solve(row)
        if extra:
            answers = {at: answer for at, answer in answers.items() if at in asked}
        assert answers == asked, f"inputs {row}"


def share_within(examples: Examples, window: int) -> float:
    """The share of labelled tokens whose gap is at most ``window``, a power of two."""
    gap = examples.slices["gap"]
    assert isinstance(gap, torch.Tensor)
    return float((gap[examples.labels != IGNORE] <= window).double().mean())


def assert_window_ceiling_counts_gaps(
    task: Task, segment: Segment, examples: Examples, guess: float
) -> None:
    """`window_ceiling` is the share of answers within reach, and ``guess`` for the rest."""
    for window in (1, 2, 4, 8, 16, 32, 64, 4096):
        share = share_within(examples, window)
        expected = share + (1 - share) * guess
        ceiling = task.window_ceiling(segment, window)
        assert ceiling is not None
        assert abs(ceiling - expected) < 0.02, (window, ceiling, expected)
