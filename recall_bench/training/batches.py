"""A split of a task as the trainer reads it: on the device, with the positions of its queries.

Shapes: N examples, L length, Q queries an example (the most in the segment).
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recall_bench.kernels.embedding import TokenOrder
from recall_bench.tasks import IGNORE, Examples, Segment, Split, Task, generate
from recall_bench.training import data_cache


class Batch(NamedTuple):
    """Rows of a segment; ``order`` is the order of the input tokens, if already computed."""

    inputs: Tensor  # (B, L) int32
    positions: Tensor  # (B, Q) int64
    targets: Tensor  # (B, Q) int64
    order: TokenOrder | None = None


@dataclass(frozen=True)
class SegmentData:
    """One segment on a device.

    ``positions`` and ``targets`` (N, Q) say where something is asked and what the answer is;
    examples with fewer queries than Q are padded with position 0 and target `IGNORE`.
    """

    segment: Segment
    inputs: Tensor  # (N, L) int32
    positions: Tensor  # (N, Q) int64
    targets: Tensor  # (N, Q) int64
    slices: dict[str, int | Tensor]  # tensors are (N, Q) int64

    def batch(self, start: int, size: int) -> Batch:
        """The rows from ``start`` on, at most ``size``."""
        rows = slice(start, start + size)
        return Batch(self.inputs[rows], self.positions[rows], self.targets[rows])


SLICE = "slice "
"""The prefix of the names of slices among the tensors of a segment."""

KEPT = 6
"""Splits kept in memory: runs of a sweep that differ only in knobs share their data."""

_recent: dict[tuple[Hashable, ...], tuple[list[SegmentData], str]] = {}


def load_split(
    task: Task, split: Split, seed: int, device: torch.device
) -> tuple[list[SegmentData], str]:
    """The segments of a split on a device, and a hash of every input and label.

    Later calls for the same split return the same tensors: do not write to them.
    """
    key = (type(task), task.model_dump_json(), split, seed, device)
    if key not in _recent:
        while len(_recent) >= KEPT:
            del _recent[next(iter(_recent))]
        _recent[key] = _load(task, split, seed, device)
    return _recent[key]


def _load(
    task: Task, split: Split, seed: int, device: torch.device
) -> tuple[list[SegmentData], str]:
    entry = data_cache.cached(task, split, seed, lambda: _generate(task, split, seed))
    data = []
    for segment, part in zip(task.segments(split), entry.parts, strict=True):
        fields: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in part.items()
        }
        tensors = {name: fields.pop(name) for name in ("inputs", "positions", "targets")}
        slices = {name.removeprefix(SLICE): value for name, value in fields.items()}
        data.append(SegmentData(segment, **tensors, slices=slices))
    return data, entry.data_hash


def _generate(task: Task, split: Split, seed: int) -> data_cache.Entry:
    digest = hashlib.sha256()
    parts = []
    for index in range(len(task.segments(split))):
        examples = generate(task, split, index, seed)
        examples.feed(digest)
        parts.append(_place(examples))
    return data_cache.Entry(parts, digest.hexdigest()[:16])


def _place(examples: Examples) -> dict[str, Tensor | int]:
    """The tensors of a segment, on the CPU, by their names in `SegmentData`."""
    labels = examples.labels  # (N, L)
    asked = labels != IGNORE
    counts = asked.sum(1)
    rows, columns = asked.nonzero(as_tuple=True)
    slot = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    shape = (len(labels), max(int(counts.max()), 1))
    positions = labels.new_zeros(shape)
    positions[rows, slot] = columns
    targets = labels.new_full(shape, IGNORE)
    targets[rows, slot] = labels[rows, columns]
    slices = {
        SLICE + name: value.gather(1, positions) if isinstance(value, Tensor) else value
        for name, value in examples.slices.items()
    }
    inputs = examples.inputs.to(torch.int32)
    return {"inputs": inputs, "positions": positions, "targets": targets, **slices}
