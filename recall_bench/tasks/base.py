"""The contract of a task: seeded segments of token sequences with labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from pydantic import Field

from recall_bench.config import Component, Config
from recall_bench.documents.report import LoadReport
from recall_bench.documents.tokens import Codec
from recall_bench.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
IGNORE = -100
"""The label where nothing is asked."""
ANSWER = "answer"
"""The slice that numbers answers of several tokens, see `Examples`."""
EACH_TOKEN = -1
"""The slice `ANSWER` for a whole segment in which every labelled token is an answer of its own."""


class Segment(Config):
    """A part of a task with a static shape; a batch never mixes segments.

    A subclass adds what else varies between segments, as numbers.
    """

    length: int = Field(ge=1, description="tokens per example")
    examples: int = Field(ge=1, description="number of examples")

    @classmethod
    def text_fields(cls) -> list[str]:
        """The fields in the order of the text form: length, those of the subclass, examples."""
        own = [name for name in cls.model_fields if name not in Segment.model_fields]
        return ["length", *own, "examples"]

    def __str__(self) -> str:
        return ":".join(str(getattr(self, name)) for name in self.text_fields())


@dataclass(frozen=True)
class Examples:
    """Token sequences with labels, on the CPU.

    ``inputs`` and ``labels`` are int64 (examples, length), labels `IGNORE` where nothing is asked.
    ``slices`` are the groups by which accuracy is reported: one integer for all examples, or an
    int64 tensor of the shape of ``labels``, read at the labelled positions. The slice ``answer`` is
    special: it numbers the answers of an example, whose tokens share a number, for exact match;
    without it all labelled tokens of an example are one answer, and with `EACH_TOKEN` each is one
    of its own.
    """

    inputs: Tensor
    labels: Tensor
    slices: Mapping[str, int | Tensor] = field(default_factory=dict)

    def rows(self, rows: slice) -> Examples:
        """The examples of a range of rows."""
        slices = {
            name: value[rows] if isinstance(value, torch.Tensor) else value
            for name, value in self.slices.items()
        }
        return Examples(self.inputs[rows], self.labels[rows], slices)

    def feed(self, digest: hashlib._Hash) -> None:
        """Add the inputs, then the labels, to a hash."""
        for tensor in (self.inputs, self.labels):
            digest.update(tensor.to(torch.int32).contiguous().numpy().tobytes())

    @staticmethod
    def concatenate(parts: Sequence[Examples]) -> Examples:
        """The rows of all parts, which belong to one segment."""
        if len(parts) == 1:
            return parts[0]
        slices: dict[str, int | Tensor] = {}
        for name, value in parts[0].slices.items():
            values = [part.slices[name] for part in parts]
            slices[name] = torch.cat(values) if isinstance(value, torch.Tensor) else value  # type: ignore[arg-type]
        inputs = torch.cat([part.inputs for part in parts])
        return Examples(inputs, torch.cat([part.labels for part in parts]), slices)


Role: TypeAlias = Literal["key", "value", "query", "filler", "other"]
"""The role of a token, for people who look at an example."""


@dataclass(frozen=True)
class Span:
    """Positions ``start`` to ``stop`` of an example and their role.

    Spans with the same ``group`` belong together, as a key, its value and its query do. A short
    ``name`` is what a person sees under the tokens instead of the mark of the role: "sep", "x2".
    """

    start: int
    stop: int
    role: Role
    group: int | None = None
    name: str | None = None

    @staticmethod
    def token(position: int, role: Role, group: int | None = None, name: str | None = None) -> Span:
        """The span of one position."""
        return Span(position, position + 1, role, group, name)


class Task(Component):
    """A generator of token sequences with labels. Its fields are its options.

    Examples depend on the options, the seed, the split and the segment alone: neither on the
    device, nor on how many are asked for at a time, nor on any global random state.
    """

    readout: ClassVar[Literal["token", "sequence"]] = "token"
    """The source of a prediction: the hidden vector of its own position, or, for "sequence",
    that of the last token together with the position (`recall_bench.model.readout`)."""

    prompted: ClassVar[bool] = False
    """Whether the labels at the end of a test example are text that the model should generate; such
    a task has a `codec` and is also scored by generation."""

    @property
    def tokens(self) -> int:
        """The size of the vocabulary: every input and label is below it."""
        raise NotImplementedError

    def segments(self, split: Split) -> tuple[Segment, ...]:
        """The segments of a split, in training order."""
        raise NotImplementedError

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        """``count`` fresh examples of a segment, drawn from ``generator`` alone (a CPU one)."""
        raise NotImplementedError

    def block(self, split: Split, index: int, seed: int, block: int) -> Examples:
        """`BLOCK` rows of segment ``index`` of a split, from row ``BLOCK * block`` on.

        `examples` draws them; a task whose examples are a fixed list overrides this, and its last
        block may be shorter.
        """
        generator = torch.Generator().manual_seed(block_seed(seed, split, index, block))
        return self.examples(self.segments(split)[index], generator, BLOCK)

    def codec(self) -> Codec | None:
        """The codec between tokens and text; None where the tokens are not text."""
        return None

    def report(self) -> LoadReport | None:
        """The loader's report on the task's data; None for a task that reads none."""
        return None

    def chance(self, segment: Segment) -> float:
        """Accuracy of the best guess that never looks at the context."""
        raise NotImplementedError

    def hint(self, segment: Segment) -> float:
        """Accuracy of the best guess that sees only the token at the query; chance by default."""
        return self.chance(segment)

    def ceiling(self, segment: Segment) -> float:
        """The best accuracy that any model can expect: the mean over an example's labels."""
        return 1.0

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """The best accuracy of a model that sees the last ``window`` tokens at every query.

        The query itself is one of them. Where the answer is out of reach the best guess counts.
        None where it is not known.
        """
        return None

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """The spans of one example, (length,) inputs and labels, for people to look at.

        By default the labelled positions are queries. Positions in no span count as "other".
        """
        asked = (labels != IGNORE).nonzero().flatten().tolist()
        return [Span.token(position, "query", group) for group, position in enumerate(asked)]


def answer_runs(labels: Tensor, start: int = 0) -> Iterator[tuple[bool, int, int]]:
    """(whether labelled, first, one after the last) of each run of positions of (L,) labels."""
    asked = (labels != IGNORE).tolist()
    for is_asked, run in groupby(range(start, len(asked)), lambda position: asked[position]):
        places = list(run)
        yield is_asked, places[0], places[-1] + 1


BLOCK = 256
"""Rows drawn from one generator seed: part of what defines the data, and a bound on memory."""


def generate(
    task: Task, split: Split, index: int, seed: int, start: int = 0, stop: int | None = None
) -> Examples:
    """Rows ``start`` to ``stop`` of segment ``index`` of a split; by default all of them.

    Every block of `BLOCK` rows has a generator of its own, so that any way of cutting a segment
    gives the same rows, and a larger segment begins with the rows of a smaller one.
    """
    segment = task.segments(split)[index]
    stop = segment.examples if stop is None else min(stop, segment.examples)
    parts = []
    for block in range(start // BLOCK, max(-(-stop // BLOCK), start // BLOCK + 1)):
        with torch.device("cpu"):
            made = task.block(split, index, seed, block)
        first = block * BLOCK
        parts.append(made.rows(slice(max(start - first, 0), max(min(stop - first, BLOCK), 0))))
    return Examples.concatenate(parts)


def block_seed(seed: int, split: str, index: int, block: int) -> int:
    """A 63-bit seed, independent for every (seed, split, segment, block)."""
    digest = hashlib.sha256(f"{seed}/{split}/{index}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def data_hash(task: Task, split: Split, seed: int) -> str:
    """SHA-256, first 16 hexadecimal digits, of the inputs, then the labels, of every segment."""
    digest = hashlib.sha256()
    for index in range(len(task.segments(split))):
        generate(task, split, index, seed).feed(digest)
    return digest.hexdigest()[:16]
