"""Accuracy and loss at the labelled positions, by segment and by slice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.ceilings import reach
from recall_bench.config import RunConfig
from recall_bench.data import SegmentData
from recall_bench.model import Model
from recall_bench.record import SegmentScore, SliceScore
from recall_bench.tasks import ANSWER, IGNORE


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


def query_logits(model: Model, inputs: Tensor, positions: Tensor) -> Tensor:
    """Logits (B, Q, V) at the queries alone: tokens (B, L), positions (B, Q)."""
    hidden = model(inputs)  # (B, L, D)
    if model.sequence_readout is not None:
        logits: Tensor = model.sequence_readout(hidden[:, -1], positions)
        return logits
    index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return model.logits(hidden.gather(1, index))


def evaluate(
    model: Model,
    data: Sequence[SegmentData],
    split: Literal["validation", "test"],
    batch_size: int,
) -> Evaluation:
    """Score a model on every segment of a split, without gradients or dropout."""
    was_training = model.training
    model.eval()
    segments: list[SegmentScore] = []
    tally: dict[str, dict[int, tuple[int, int]]] = {}  # slice -> value -> (queries, correct)
    with torch.no_grad():
        for part in data:
            correct, loss = _score(model, part, batch_size)
            asked = part.targets != IGNORE
            by_example = (correct & asked).sum(1) / asked.sum(1).clamp(min=1)
            options = part.segment.model_dump(exclude={"length", "examples"})
            segments.append(
                SegmentScore(
                    split=split,
                    length=part.segment.length,
                    options=options,
                    examples=len(part.inputs),
                    accuracy=by_example.double().mean().item(),
                    loss=loss,
                    exact_match=exact_match(correct, asked, part.slices.get(ANSWER, 0)),
                )
            )
            for name, value in part.slices.items():
                if name == ANSWER:
                    continue
                _count(tally.setdefault(name, {}), value, correct[asked], asked)
    model.train(was_training)
    slices = [
        SliceScore(name=name, value=value, queries=queries, accuracy=right / queries)
        for name, counts in tally.items()
        for value, (queries, right) in sorted(counts.items())
    ]
    return Evaluation(segments, slices)


def exact_match(correct: Tensor, asked: Tensor, answer: int | Tensor) -> float:
    """The share of answers with every token right, each example weighing the same.

    ``correct`` and ``asked`` are bool (N, Q); ``answer`` numbers the answers of an example, int64
    (N, Q), or one number where they are one.
    """
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
    """The scores, in the order of the task's segments, with what guessing and no model reach."""
    window = reach(config.architecture.name, config.architecture.model_dump())
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


def _score(model: Model, part: SegmentData, batch_size: int) -> tuple[Tensor, float]:
    """Which queries are answered correctly, (N, Q) bool, and the mean loss."""
    correct = torch.zeros_like(part.targets, dtype=torch.bool)
    total = torch.zeros((), dtype=torch.float64, device=part.targets.device)
    for start in range(0, len(part.inputs), batch_size):
        inputs, positions, targets = part.batch(start, batch_size)
        logits = query_logits(model, inputs, positions).float()
        correct[start : start + batch_size] = logits.argmax(-1) == targets
        total += F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
    return correct, (total / (part.targets != IGNORE).sum().clamp(min=1)).item()


def _count(
    counts: dict[int, tuple[int, int]], value: int | Tensor, correct: Tensor, asked: Tensor
) -> None:
    """Add the queries of one segment to the tally of one slice."""
    values = (
        value[asked]
        if isinstance(value, Tensor)
        else torch.full_like(correct, value, dtype=torch.int64)
    )
    for found in values.unique().tolist():
        here = values == found
        queries, right = counts.get(found, (0, 0))
        counts[found] = (queries + int(here.sum()), right + int(correct[here].sum()))
