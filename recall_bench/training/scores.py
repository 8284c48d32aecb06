"""Accuracy and loss at the labelled positions, by segment and by slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from recall_bench.bounds import reach
from recall_bench.config import RunConfig
from recall_bench.store.record import SegmentScore, SliceScore
from recall_bench.tasks import ANSWER, EACH_TOKEN, IGNORE
from recall_bench.training.batches import SegmentData
from recall_bench.training.scoring import Scores


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split."""

    segments: list[SegmentScore]
    slices: list[SliceScore]

    @property
    def accuracy(self) -> float:
        """Mean over the segments."""
        return sum(score.accuracy for score in self.segments) / len(self.segments)

    @property
    def loss(self) -> float:
        """Mean over the segments, nats a query."""
        return sum(score.loss for score in self.segments) / len(self.segments)


def evaluate(
    scores: Scores,
    data: Sequence[SegmentData],
    split: Literal["validation", "test"],
    details: bool = True,
) -> Evaluation:
    """Summarise the scores of a split by segment, and with ``details`` by slice and answer too."""
    asked = [part.targets != IGNORE for part in data]
    means = torch.stack([_means(*pair) for pair in zip(scores, asked, strict=True)]).tolist()
    segments: list[SegmentScore] = []
    tally: dict[str, Tally] = {}
    for part, (correct, losses), here, (accuracy, loss) in zip(
        data, scores, asked, means, strict=True
    ):
        answer = part.slices.get(ANSWER, 0)
        segments.append(
            SegmentScore(
                split=split,
                length=part.segment.length,
                options=part.segment.model_dump(exclude={"length", "examples"}),
                examples=len(part.inputs),
                accuracy=accuracy,
                loss=loss,
                exact_match=exact_match(correct, here, answer) if details else None,
            )
        )
        for name, value in part.slices.items() if details else ():
            if name != ANSWER:
                _count(tally.setdefault(name, {}), value, correct[here], losses[here], here)
    slices = [
        SliceScore(
            name=name, value=value, queries=queries, accuracy=right / queries, loss=loss / queries
        )
        for name, counts in tally.items()
        for value, (queries, right, loss) in sorted(counts.items())
    ]
    return Evaluation(segments, slices)


def _means(score: tuple[Tensor, Tensor], asked: Tensor) -> Tensor:
    """Accuracy, each example weighing the same, and loss: (2,) float64."""
    correct, losses = score
    by_example = (correct & asked).sum(1) / asked.sum(1).clamp(min=1)
    loss = losses.double().sum() / asked.sum().clamp(min=1)
    return torch.stack([by_example.double().mean(), loss])


def exact_match(correct: Tensor, asked: Tensor, answer: int | Tensor) -> float:
    """The share of answers with every token right, each example weighing the same.

    ``correct`` and ``asked`` are bool (N, Q); ``answer`` numbers the answers of an example, int64
    (N, Q), or one number where they are one; `EACH_TOKEN` makes every token one.
    """
    if not isinstance(answer, Tensor) and answer == EACH_TOKEN:
        return ((correct & asked).sum(1) / asked.sum(1).clamp(min=1)).double().mean().item()
    if not isinstance(answer, Tensor):
        return (correct | ~asked).all(1).double().mean().item()
    rows = asked.nonzero()[:, 0]  # (tokens,)
    key = torch.stack([rows, answer[asked]], 1)
    answers, member = key.unique(dim=0, return_inverse=True)  # (answers, 2), (tokens,)
    wrong = torch.zeros(len(answers), dtype=torch.float64, device=correct.device)
    wrong.index_add_(0, member, (~correct[asked]).double())
    right = torch.zeros(2, len(asked), dtype=torch.float64, device=correct.device)
    right[0].index_add_(0, answers[:, 0], (wrong == 0).double())
    right[1].index_add_(0, answers[:, 0], torch.ones_like(wrong))
    return (right[0] / right[1].clamp(min=1)).mean().item()


def with_limits(scores: Sequence[SegmentScore], config: RunConfig) -> list[SegmentScore]:
    """The scores, in the order of the task's segments, with their chance and their ceilings."""
    window = reach(config.architecture.windows())
    limited = []
    for split in ("validation", "test"):
        mine = [score for score in scores if score.split == split]
        for score, segment in zip(mine, config.task.segments(split), strict=True):
            limits = {
                "chance": config.task.chance(segment),
                "ceiling": config.task.ceiling(segment),
                "window_ceiling": config.task.window_ceiling(segment, window) if window else None,
            }
            limited.append(score.model_copy(update=limits))
    return limited


Tally: TypeAlias = dict[int, tuple[int, int, float]]
"""By value of a slice: queries, those answered correctly, and the sum of their losses."""


def _count(
    counts: Tally, value: int | Tensor, correct: Tensor, losses: Tensor, asked: Tensor
) -> None:
    """Add the queries of one segment to the tally of one slice."""
    values = (
        value[asked]
        if isinstance(value, Tensor)
        else torch.full_like(correct, value, dtype=torch.int64)
    )
    distinct, member = values.unique(return_inverse=True)
    sums = torch.zeros(3, len(distinct), dtype=torch.float64, device=distinct.device)
    for row, numbers in zip(sums, (torch.ones_like(losses), correct, losses), strict=True):
        row.index_add_(0, member, numbers.double())
    for key, here, hits, loss in zip(distinct.tolist(), *sums.tolist(), strict=True):
        queries, right, before = counts.get(key, (0, 0, 0.0))
        counts[key] = (queries + int(here), right + int(hits), before + loss)
