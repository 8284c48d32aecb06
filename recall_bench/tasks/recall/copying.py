"""Copying a string: Repeat After Me, 2402.01032, section 3.1.

A string of random letters is to be repeated. With a string of S=4 letters in L=9 tokens, where
``^`` starts the string, ``|`` ends it and ``-`` is not asked:

    inputs   ^  b  a  d  a  |  b  a  d
    labels   -  -  -  -  -  b  a  d  a

The copy is fed back, as it is when a language model is trained, so that the answers are all right
exactly where greedy decoding would repeat the string (`exact_match`). It probes capacity, as the
whole string has to be kept, and length generalisation: sizes are those of the authors' code,
strings of 8 to 50 of 26 letters in training and of up to 200 in the test. That code packs several
examples into one sequence, and also asks for the end of the copy; here an example has a sequence
of its own, and the letters alone are asked for.

Shapes: B rows, L length, S letters at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor


class CopyingSegment(Segment):
    """Examples of one length; their strings have ``shortest`` to (length - 1) / 2 letters."""

    shortest: int = Field(ge=1, description="letters of the shortest string")

    @property
    def longest(self) -> int:
        """Letters of the longest string: two of them and the two marks fill the length."""
        return (self.length - 1) // 2


Segments: TypeAlias = Annotated[
    tuple[CopyingSegment, ...],
    BeforeValidator(read_text(CopyingSegment)),
    Field(min_length=1, description="length:shortest:examples,…"),
]
"""Segments, also read from text: ``length:shortest:examples`` joined by commas."""

TRAIN = segments_of(CopyingSegment, "101:8:100000")
VALIDATION = segments_of(CopyingSegment, "101:8:1000")
TEST = segments_of(CopyingSegment, "21:10:1000,41:20:1000,101:50:1000,201:100:1000,401:200:1000")


@register_task("copying")
class Copying(SegmentedTask):
    """Repeat a string; the defaults are those of Repeat After Me (2402.01032).

    Letters are 0 to A-1, uniform and with replacement; A starts a string, A+1 ends it, A+2 fills
    the sequence after the copy. The number of letters is uniform over a segment's range. Raises
    `ValueError` for a segment that cannot be built.
    """

    alphabet: int = Field(26, ge=2, description="letters there are")
    train: Segments = TRAIN
    validation: Segments = VALIDATION
    test: Segments = TEST

    def misfit(self, segment: CopyingSegment) -> str | None:
        if segment.shortest > segment.longest:
            return (
                f"strings of {segment.shortest} letters and their copies do not fit a length of "
                f"{segment.length}. Expected 2 * shortest + 1 <= length, got "
                f"{2 * segment.shortest + 1} > {segment.length}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.alphabet + 3

    def chance(self, segment: Segment) -> float:
        """Any letter."""
        return 1 / self.alphabet

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The share of strings short enough to lie within ``window``; else a guess."""
        assert isinstance(segment, CopyingSegment)
        sizes = range(segment.shortest, segment.longest + 1)
        reach = sum(size + 1 <= window for size in sizes) / len(sizes)
        return reach + (1 - reach) / self.alphabet

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's shortest string and length, and the gap: how far back the letter
        asked for stands plus one, that is the string's length plus one, rounded up to a power of
        two.
        """
        assert isinstance(segment, CopyingSegment)
        B, L, S, A = count, segment.length, segment.longest, self.alphabet
        letters = torch.randint(A, (B, S), generator=generator)
        size = torch.randint(segment.shortest, S + 1, (B, 1), generator=generator)
        position = torch.arange(L)

        first = letters.gather(1, (position - 1).clamp(0, S - 1).expand(B, L))
        copy = position - size - 1  # (B, L): which letter is asked for
        asked = (copy >= 0) & (copy < size)
        target = letters.gather(1, copy.clamp(0, S - 1))
        inputs = first.where(position <= size, A + 2)
        inputs[:, 1:] = target[:, :-1].where(asked[:, :-1], inputs[:, 1:])
        inputs.scatter_(1, size + 1, A + 1)
        inputs[:, 0] = A
        inputs = inputs.where(copy < size, A + 2)
        labels = target.where(asked, IGNORE)
        gap = asked * round_up(size + 1)
        return Examples(inputs, labels, {"shortest": segment.shortest, "length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """The string, its marks, and the copy."""
        row = inputs.tolist()
        end = row.index(self.alphabet + 1)
        spans = [
            Span(0, 1, "other", name="start"),
            *(Span.token(position, "value", position - 1) for position in range(1, end)),
            *(Span.token(end + position, "query", position) for position in range(end - 1)),
        ]
        stop = 2 * end - 1
        return [*spans, Span(stop, len(row), "filler")] if stop < len(row) else spans
