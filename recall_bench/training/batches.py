"""A split of a task as the trainer reads it: on the device, with the positions of its queries.

Shapes: N examples, L length, Q queries an example (the most in the segment).
"""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recall_bench.kernels.embedding import TokenOrder
from recall_bench.tasks import IGNORE, Examples, Segment, Split, Task, generate


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
    digest = hashlib.sha256()
    data = []
    for index, segment in enumerate(task.segments(split)):
        examples = generate(task, split, index, seed)
        examples.feed(digest)
        data.append(_place(segment, examples, device))
    return data, digest.hexdigest()[:16]


def _place(segment: Segment, examples: Examples, device: torch.device) -> SegmentData:
    labels = examples.labels.to(device)  # (N, L)
    asked = labels != IGNORE
    counts = asked.sum(1)
    rows, columns = asked.nonzero(as_tuple=True)
    slot = torch.arange(len(rows), device=device) - (counts.cumsum(0) - counts)[rows]
    shape = (len(labels), max(int(counts.max()), 1))
    positions = labels.new_zeros(shape)
    positions[rows, slot] = columns
    targets = labels.new_full(shape, IGNORE)
    targets[rows, slot] = labels[rows, columns]
    slices = {
        name: value.to(device).gather(1, positions) if isinstance(value, Tensor) else value
        for name, value in examples.slices.items()
    }
    inputs = examples.inputs.to(device, torch.int32)
    return SegmentData(segment, inputs, positions, targets, slices)
