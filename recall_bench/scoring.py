"""What a model says where something is asked: its loss there, and which answers are right.

Everything here stays on the device and waits for nothing.

Shapes: B batch, L length, Q queries an example, N examples, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.data import SegmentData
from recall_bench.model import Model
from recall_bench.tasks import IGNORE

GRAPH_BATCHES = 512
"""Batches of a split that one CUDA graph may hold; longer splits are scored without."""


def query_logits(model: Model, inputs: Tensor, positions: Tensor) -> Tensor:
    """Logits (B, Q, V) at the queries alone: tokens (B, L), positions (B, Q)."""
    hidden = model(inputs)  # (B, L, D)
    if model.sequence_readout is not None:
        logits: Tensor = model.sequence_readout(hidden[:, -1], positions)
        return logits
    index = positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return model.logits(hidden.gather(1, index))


def query_loss(model: Model, inputs: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the queries of a batch, nats."""
    logits = query_logits(model, inputs, positions)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE)


def query_answers(
    model: Model, inputs: Tensor, positions: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each query, zero where nothing is asked, and whether it is right: (B, Q)."""
    logits = query_logits(model, inputs, positions).float()
    losses = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none"
    )
    return losses.view_as(targets), logits.argmax(-1) == targets


Scores = list[tuple[Tensor, Tensor]]
"""For each segment: which queries are answered correctly, bool (N, Q), and their mean loss."""


@torch.no_grad()
def score(model: Model, data: Sequence[SegmentData], batch_size: int) -> Scores:
    """Score a model on every segment of a split, without gradients or dropout."""
    was_training = model.training
    model.eval()
    scores = []
    for part in data:
        batches = [
            query_answers(model, *part.batch(start, batch_size))
            for start in range(0, len(part.inputs), batch_size)
        ]
        losses, correct = (torch.cat(columns) for columns in zip(*batches, strict=True))
        asked = (part.targets != IGNORE).sum().clamp(min=1)
        scores.append((correct, losses.double().sum() / asked))
    model.train(was_training)
    return scores


def make_scorer(
    model: Model, data: Sequence[SegmentData], batch_size: int, graph: bool
) -> Callable[[], Scores]:
    """`score` as a function of the model's current weights, from a CUDA graph if asked for.

    With a graph, the tensors returned are overwritten by the next call.
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
    with torch.cuda.graph(captured, stream=stream):
        scores = eager()

    def replay() -> Scores:
        captured.replay()
        return scores

    return replay
