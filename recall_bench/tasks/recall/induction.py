"""Induction heads: Mamba, 2312.00752, section 4.1.2 and appendix E.1.

A trigger stands somewhere among random tokens; when it returns at the very end, the token that
followed it is asked for. With L=10, where ``!`` is the trigger and ``-`` is not asked:

    inputs   c  a  f  !  b  d  a  c  e  !
    labels   -  -  -  -  -  -  -  -  -  b

It probes whether a single association survives any number of distractors: trained at one length,
models are tested at ever longer ones. The vocabulary of 16, the training length of 256 and test
lengths of powers of two are Mamba's. Mamba draws fresh examples in every step; here the number of
examples is fixed. Mamba tests up to 2^20 tokens; the default ends at 2^14, and longer segments need
memory: 256 rows are drawn at a time, at 24 bytes per token.

Shapes: B rows, L length.
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

TRIGGER = 0

Segments: TypeAlias = Annotated[
    tuple[Segment, ...],
    BeforeValidator(read_text(Segment)),
    Field(min_length=1, description="length:examples,…"),
]
"""Segments, also read from text: ``length:examples`` joined by commas."""

TRAIN = segments_of(Segment, "256:100000")
VALIDATION = segments_of(Segment, "256:1000")
TEST = segments_of(
    Segment,
    "64:1000,128:1000,256:1000,512:1000,1024:1000,2048:500,4096:250,8192:125,16384:64",
)


@register_task("induction")
class Induction(SegmentedTask):
    """Recall what followed the trigger; the defaults are those of Mamba (2312.00752).

    Token 0 is the trigger, one of the vocabulary V; all others are uniform, from 1 to V-1. The
    trigger stands at 0 to L-3, uniformly. Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(16, ge=3, description="tokens, the trigger included")
    train: Segments = TRAIN
    validation: Segments = VALIDATION
    test: Segments = TEST

    def misfit(self, segment: Segment) -> str | None:
        if segment.length < 3:
            return (
                f"a trigger, its answer and the query need three tokens. Expected length >= 3, "
                f"got {segment.length}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """Any token but the trigger."""
        return 1 / (self.vocab_size - 1)

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The share of examples whose answer lies within ``window``; else a guess."""
        places = segment.length - 2
        reach = min(max(window - 1, 0), places) / places
        return reach + (1 - reach) * self.chance(segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the length and the gap: the distance between the triggers, rounded up to a power
        of two. The answer lies within a window of w tokens, the last one included, exactly where
        the gap is at most w.
        """
        B, L = count, segment.length
        inputs = torch.randint(1, self.vocab_size, (B, L), generator=generator)
        trigger = torch.randint(L - 2, (B, 1), generator=generator)
        inputs.scatter_(1, trigger, TRIGGER)
        inputs[:, -1] = TRIGGER
        labels = torch.full((B, L), IGNORE)
        labels[:, -1:] = inputs.gather(1, trigger + 1)
        gap = torch.zeros_like(labels)
        gap[:, -1:] = round_up(L - 1 - trigger)
        return Examples(inputs, labels, {"length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """The trigger, its answer, the query, and what lies between."""
        position, end = inputs.tolist().index(TRIGGER), segment.length - 1
        spans = [
            Span(0, position, "filler"),
            Span.token(position, "key", 0),
            Span.token(position + 1, "value", 0),
            Span(position + 2, end, "filler"),
            Span.token(end, "query", 0),
        ]
        return [span for span in spans if span.start < span.stop]
