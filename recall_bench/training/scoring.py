"""A model's losses at the queries, and which of its answers are right.

Everything here stays on the device and never synchronises with the host.

Shapes: B batch, L length, Q queries an example, N examples, D width, V vocabulary.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.kernels.labelled_cross_entropy import labelled_cross_entropy, labelled_losses
from recall_bench.model.backbone import Model
from recall_bench.tasks import IGNORE
from recall_bench.training.batches import Batch, SegmentData

AGREEMENT = 2e-3
"""Rounding in other kernels may turn a few near ties among thousands of answers."""
GRAPH_BATCHES = 512
"""Most batches of a split that one CUDA graph holds; longer splits are scored without one."""


def query_logits(model: Model, inputs: Tensor, positions: Tensor) -> Tensor:
    """Logits (B, Q, V) at the queries alone: tokens (B, L), positions (B, Q)."""
    if model.sequence_readout is not None:
        logits: Tensor = model.sequence_readout(model(inputs)[:, -1], positions)
        return logits
    return model.logits(model(inputs, positions))


def query_loss(model: Model, batch: Batch) -> Tensor:
    """Mean cross-entropy over the queries of a batch, in nats; kernels avoid storing logits."""
    targets = batch.targets.flatten()
    if model.sequence_readout is not None:
        logits = query_logits(model, batch.inputs, batch.positions).flatten(0, 1).float()
        return F.cross_entropy(logits, targets, ignore_index=IGNORE)
    hidden = model(batch.inputs, batch.positions, batch.order).flatten(0, 1)  # (B Q, D)
    return labelled_cross_entropy(hidden, model.embedding.weight, targets)


def query_answers(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each query, zero where nothing is asked, and whether it is right: (B, Q)."""
    targets = batch.targets.flatten()
    if model.sequence_readout is not None:
        logits = query_logits(model, batch.inputs, batch.positions).flatten(0, 1).float()
        losses = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
        correct = logits.argmax(-1) == targets
    else:
        hidden = model(batch.inputs, batch.positions).flatten(0, 1)
        losses, correct = labelled_losses(hidden, model.embedding.weight, targets)
    return losses.view_as(batch.targets), correct.view_as(batch.targets)


Scores = list[tuple[Tensor, Tensor]]
"""For each segment: which queries are answered correctly, bool (N, Q), and their losses, (N, Q)."""


@torch.no_grad()
def score(model: Model, data: Sequence[SegmentData], batch_size: int) -> Scores:
    """Score a model on every segment of a split, without gradients or dropout."""
    was_training = model.training
    model.eval()
    scores = []
    for part in data:
        batches = [
            query_answers(model, part.batch(start, batch_size))
            for start in range(0, len(part.inputs), batch_size)
        ]
        losses, correct = (torch.cat(columns) for columns in zip(*batches, strict=True))
        scores.append((correct, losses))
    model.train(was_training)
    return scores


def make_scorer(
    model: Model, data: Sequence[SegmentData], batch_size: int, graph: bool
) -> Callable[[], Scores]:
    """`score` as a function of the model's current weights, from a CUDA graph if asked for.

    With a graph, the tensors returned are overwritten by the next call, and the first call compares
    them with an eager pass (`compared_once`).
    """

    def eager() -> Scores:
        return score(model, data, batch_size)

    batches = sum(-(-len(part.inputs) // batch_size) for part in data)
    if not graph or batches > GRAPH_BATCHES:
        return eager
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        eager()
    torch.cuda.current_stream().wait_stream(stream)
    captured = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(captured, stream=stream):
            scores = eager()
    except RuntimeError:  # a mixer that waits for the device outside of training alone
        return eager

    def replay() -> Scores:
        captured.replay()
        return scores

    return compared_once(replay, eager)


def compared_once(
    replay: Callable[[], Scores], eager: Callable[[], Scores]
) -> Callable[[], Scores]:
    """The scores of ``replay``; those of ``eager`` if the two disagree in the first call.

    Weights are then no longer the ones that the graph was captured with, so that a graph which
    ignores their changes is found out. A disagreement raises a `UserWarning`.
    """
    chosen: list[Callable[[], Scores]] = []

    def compare() -> Scores:
        if chosen:
            return chosen[0]()
        expected = [(correct.clone(), losses.clone()) for correct, losses in eager()]
        got = replay()
        if agree(got, expected):
            chosen.append(replay)
            return got
        chosen.append(eager)
        warnings.warn(
            "Validation from a CUDA graph differs from an eager pass; validation continues without "
            "the graph.",
            stacklevel=2,
        )
        return expected

    return compare


def agree(some: Scores, others: Scores) -> bool:
    """Whether two scorings have the same mean loss and accuracy in every segment, to rounding."""
    for (correct, losses), (their_correct, their_losses) in zip(some, others, strict=True):
        mean, theirs = losses.double().mean(), their_losses.double().mean()
        if not torch.isclose(mean, theirs, rtol=AGREEMENT, atol=AGREEMENT, equal_nan=True):
            return False
        if abs(float(correct.double().mean() - their_correct.double().mean())) > AGREEMENT:
            return False
    return True
