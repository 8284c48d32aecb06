"""Optimiser steps replayed as CUDA graphs, each proved against the steps it was captured from.

A small model's step is a hundred kernels of a few microseconds each, and launching them takes the
host ten times as long as running them takes the device. A graph launches all of them at once. It
fixes every shape and address, so there is one for each segment, and it finds its batch by itself:
all batches of a segment lie on the device as rows of one integer matrix, a counter says which row
is next, and the graph increments it.

Shapes: B batch, L length, Q queries an example.
"""

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench.config import TrainingConfig
from recall_bench.kernels.embedding import TokenOrder, token_order
from recall_bench.kernels.plumbing.side import Side
from recall_bench.model.backbone import Model
from recall_bench.tasks import IGNORE
from recall_bench.training.batches import Batch, SegmentData
from recall_bench.training.optimizer import AdamW
from recall_bench.training.steps import Steps

VARIABLE = "RECALL_BENCH_GRAPHS"
"""Set this environment variable to 0 to run every step without CUDA graphs."""

TRIALS = 3
"""Steps that a graph must reproduce before it is used."""

TRIAL_RATE = 1e-3
"""The learning rate of those steps."""

TOLERANCE = 1e-3
"""Relative difference of the loss that another order of summation may cause in the trials."""

MEAN_TOLERANCE = 0.05
"""The same for a parameter's mean gradient: it shows errors that an untrained loss hides."""

NEGLIGIBLE = 0.01
"""Mean gradients below this share of the largest are compared as if they were that large."""


def make_steps(
    model: Model,
    optimizer: AdamW,
    data: Sequence[SegmentData],
    recipe: TrainingConfig,
) -> Steps:
    """Steps from CUDA graphs where the device and the model allow it; else eager ones."""
    steps = Steps(model, optimizer, data, recipe)
    if steps.loss.device.type != "cuda":
        return steps
    if os.environ.get(VARIABLE) == "0":
        steps.how = f"eager: {VARIABLE}=0"
        return steps
    try:
        return GraphSteps(model, optimizer, data, recipe)
    except CannotCapture as error:
        steps.how = f"eager, no CUDA graph: {error}"
        return steps


class GraphSteps(Steps):
    """The same steps from one CUDA graph a segment.

    Each graph has to reproduce the steps it was captured from. Raises `CannotCapture` where a
    mixer waits for the device, computes on the host, or gives other numbers in a graph.
    """

    how = "CUDA graph"
    graphs = True

    def __init__(
        self,
        model: Model,
        optimizer: AdamW,
        data: Sequence[SegmentData],
        recipe: TrainingConfig,
    ):
        super().__init__(model, optimizer, data, recipe)
        optimizer.set_rate(TRIAL_RATE)
        self._batches = [
            PackedBatches(part, recipe.batch_size, model.embedding.num_embeddings) for part in data
        ]
        self._row = torch.zeros(len(data), dtype=torch.int64, device=self.loss.device)
        self._next = [0] * len(data)  # what the counters on the device will be
        self._pool = torch.cuda.graph_pool_handle()
        branch = Side(self.loss.device)
        start = _Snapshot(model, optimizer, [self.loss, self._row])
        try:
            self._graphs = [self._capture(index, start, branch) for index in range(len(data))]
        except (RuntimeError, NotImplementedError) as error:
            raise CannotCapture(str(error).split("\n")[0]) from error
        finally:
            start.restore()
            self.begin_epoch()
            optimizer.zero_grad()

    def take(self, index: int, start: int) -> int:
        inputs, row = self.data[index].inputs, start // self.recipe.batch_size
        if self._next[index] != row:
            self._row[index].fill_(row)
        self._graphs[index].replay()
        self._next[index] = row + 1
        return inputs.shape[1] * min(self.recipe.batch_size, len(inputs) - start)

    def _capture(self, index: int, start: "_Snapshot", branch: Side | None) -> torch.cuda.CUDAGraph:
        """The graph of a step on the next batch of a segment."""

        def trials(step: Callable[[], Tensor]) -> tuple[list[float], list[Tensor]]:
            """The losses of a few steps on the first batch, and the mean gradients after them."""
            start.restore()
            losses = []
            for _ in range(TRIALS):
                self._row.zero_()
                losses.append(step().item())
            return losses, [mean.clone() for mean in self.optimizer.means]

        def replay() -> Tensor:
            graph.replay()
            return loss

        stream = torch.cuda.Stream(self.loss.device)
        stream.wait_stream(torch.cuda.current_stream(self.loss.device))
        self._side = None
        with torch.cuda.stream(stream):
            expected, means = trials(lambda: self._take_next(index))
            self._side = branch
            self._row.zero_()
            self._take_next(index)  # libraries allocate for a stream's first use
        torch.cuda.current_stream(self.loss.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            loss = self._take_next(index)
        got, their_means = trials(replay)
        close = torch.isclose(
            torch.tensor(got), torch.tensor(expected), rtol=TOLERANCE, atol=0, equal_nan=True
        )
        if not close.all():
            raise CannotCapture(f"losses from a graph were {got}, without it {expected}")
        if _differ(their_means, means):
            raise CannotCapture("gradients from a graph are not those without it")
        return graph

    def _take_next(self, index: int) -> Tensor:
        """One step on the row that the counter of a segment points at; its loss."""
        row = self._row[index : index + 1]
        loss = self._update(self._batches[index].batch(row))
        self.loss += loss
        row += 1
        return loss


def _differ(some: list[Tensor], others: list[Tensor]) -> bool:
    """Whether any two tensors differ by more than the tolerance; NaN is left to the losses."""
    norms = torch.stack([x.norm() for x in others])
    apart = torch.stack([(x - y).norm() for x, y in zip(some, others, strict=True)])
    return bool((apart > MEAN_TOLERANCE * norms.clamp(min=NEGLIGIBLE * norms.max())).any())


class CannotCapture(RuntimeError):
    """The reason why a step has no CUDA graph."""


class PackedBatches:
    """All batches of a segment as rows of one int32 matrix, so that one kernel fetches a batch.

    The last batch is filled up with examples in which nothing is asked. The order of the tokens,
    which the gradient of the embedding needs, is worked out here, once for all epochs. Positions
    and targets come first, where their eight bytes are aligned: two columns hold one of them.
    """

    def __init__(self, part: SegmentData, batch_size: int, vocabulary: int):
        missing = -len(part.inputs) % batch_size
        columns = [
            F.pad(part.positions, (0, 0, 0, missing)),
            F.pad(part.targets, (0, 0, 0, missing), value=IGNORE),
            F.pad(part.inputs, (0, 0, 0, missing)),
        ]
        batches = [column.unflatten(0, (-1, batch_size)) for column in columns]
        orders = [token_order(inputs, vocabulary) for inputs in batches[2]]
        batches += [torch.stack(parts) for parts in zip(*orders, strict=True)]
        self.parts = [(batch.dtype, batch.shape[1:]) for batch in batches]
        flat = [batch.flatten(1).view(torch.int32) for batch in batches]
        self.sizes = [part.shape[1] for part in flat]
        self.rows = torch.cat(flat, 1)

    def batch(self, row: Tensor) -> Batch:
        """The batch whose number is in ``row``, (1,) on the device."""
        columns = self.rows.index_select(0, row)[0].split(self.sizes)
        positions, targets, inputs, *order = (
            part.view(dtype).view(shape)
            for part, (dtype, shape) in zip(columns, self.parts, strict=True)
        )
        return Batch(inputs, positions, targets, TokenOrder(*order))


class _Snapshot:
    """Weights, optimiser, random state and further tensors, to be put back in place."""

    def __init__(self, model: Model, optimizer: AdamW, others: Sequence[Tensor]):
        tensors = [*model.parameters(), *model.buffers(), *optimizer.tensors(), *others]
        self.kept = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self.device = others[0].device
        self.random = torch.cuda.get_rng_state(self.device)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for tensor, kept in self.kept:
            tensor.copy_(kept)
        torch.cuda.set_rng_state(self.random, self.device)
