"""A split of a task as the trainer reads it: resident on the device, queries by position.

Shapes: N examples, L length, Q queries an example (the most in the segment).
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from recall_bench.tasks import IGNORE, Examples, Segment, Split, Task, generate


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

    def batch(self, start: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs, positions, targets) of the rows from ``start`` on."""
        rows = slice(start, start + size)
        return self.inputs[rows], self.positions[rows], self.targets[rows]


def load_split(
    task: Task, split: Split, seed: int, device: torch.device
) -> tuple[list[SegmentData], str]:
    """The segments of a split on a device, and a hash of every input and label."""
    digest = hashlib.sha256()
    data = []
    for index, segment in enumerate(task.segments(split)):
        examples = generate(task, split, index, seed)
        examples.feed(digest)
        data.append(_place(segment, examples, device))
    return data, digest.hexdigest()[:16]


def _place(segment: Segment, examples: Examples, device: torch.device) -> SegmentData:
    asked = examples.labels != IGNORE  # (N, L)
    queries = max(int(asked.sum(1).max()), 1)
    # A stable sort brings the labelled positions to the front, in order.
    positions = asked.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :queries]
    present = asked.gather(1, positions)
    positions = positions.where(present, 0)
    targets = examples.labels.gather(1, positions).where(present, IGNORE)
    slices = {
        name: value.gather(1, positions).to(device) if isinstance(value, Tensor) else value
        for name, value in examples.slices.items()
    }
    return SegmentData(
        segment,
        examples.inputs.to(device, torch.int32),
        positions.to(device),
        targets.to(device),
        slices,
    )
