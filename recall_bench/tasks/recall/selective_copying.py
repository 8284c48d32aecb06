"""Selective copying: Mamba, 2312.00752, section 4.1.1 and appendix E.1.

Data tokens are scattered over noise. As many marks follow, and each asks for the next data token,
in order. With M=3 items and L=11, where ``.`` is noise, ``=`` the mark and ``-`` is not asked:

    inputs   .  b  .  .  a  .  .  c  =  =  =
    labels   -  -  -  -  -  -  -  -  b  a  c

It probes selection: only the content of a token tells whether to keep it, not its place, so that no
fixed convolution can solve it. The noise is one token, 4096 places with 16 items, the vocabulary 16
of which one token is noise and one the mark: Mamba's. Lengths here are 4096 + 16, since they count
the marks as well. Mamba draws fresh examples in every step; here the number of examples is fixed.

At this length a row is 100 kB (inputs, labels and gaps), which bounds the throughput: 40,000
to 50,000 examples, 4 to 5 GB, a second on one core.

Shapes: B rows, L length, M items, N = L - M places.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.sampling import choose_distinct, sort_rows
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor

NOISE = 0


class SelectiveCopyingSegment(Segment):
    """Examples of one length and number of items."""

    items: int = Field(ge=1, description="tokens to copy")


Segments: TypeAlias = Annotated[
    tuple[SelectiveCopyingSegment, ...],
    BeforeValidator(read_text(SelectiveCopyingSegment)),
    Field(min_length=1, description="length:items:examples,…"),
]
"""Segments, also read from text: ``length:items:examples`` joined by commas."""

TRAIN = segments_of(SelectiveCopyingSegment, "4112:16:20000")
TEST = segments_of(SelectiveCopyingSegment, "4112:16:1000")


@register_task("selective-copying")
class SelectiveCopying(SegmentedTask):
    """Copy data tokens out of noise, in order; the defaults are those of Mamba (2312.00752).

    Token 0 is noise and V-1 the mark, V being the vocabulary; items come from 1 to V-2, with
    replacement, at places drawn without. Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(16, ge=4, description="tokens, noise and mark included")
    train: Segments = TRAIN
    validation: Segments = TEST
    test: Segments = TEST

    def misfit(self, segment: SelectiveCopyingSegment) -> str | None:
        L, M = segment.length, segment.items
        if 2 * M > L:
            return (
                f"{M} items and as many marks do not fit a length of {L}. Expected "
                f"2 * items <= length, got {2 * M} > {L}; at most {L // 2} items fit"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """Any token but noise and mark."""
        return 1 / (self.vocab_size - 2)

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The share of items within ``window`` of the mark that asks for them; else a guess.

        Item j of M stands at least at place t where at most j of the items are below t, whose
        number is hypergeometric.
        """
        assert isinstance(segment, SelectiveCopyingSegment)
        M, N = segment.items, segment.length - segment.items
        reach = 0.0
        for item in range(M):
            t = min(max(N + item + 1 - window, 0), N)
            below = sum(comb(t, k) * comb(N - t, M - k) for k in range(item + 1))
            reach += below / comb(N, M) / M
        return reach + (1 - reach) * self.chance(segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's items and length, and the gap: the distance from a mark back to its
        item plus one, rounded up to a power of two.
        """
        assert isinstance(segment, SelectiveCopyingSegment)
        B, L, M = count, segment.length, segment.items
        N = L - M
        items = torch.randint(1, self.vocab_size - 1, (B, M), generator=generator)
        places = sort_rows(choose_distinct(B, M, N, generator))  # (B, M)
        inputs = torch.full((B, L), NOISE).scatter_(1, places, items)
        inputs[:, N:] = self.vocab_size - 1
        labels = torch.full((B, L), IGNORE)
        labels[:, N:] = items
        gap = torch.zeros_like(labels)
        gap[:, N:] = round_up(N + torch.arange(M) - places + 1)
        return Examples(inputs, labels, {"items": M, "length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Items, each with the mark that asks for it, and noise."""
        assert isinstance(segment, SelectiveCopyingSegment)
        spans, item, N = [], 0, segment.length - segment.items
        for position, token in enumerate(inputs[:N].tolist()):
            if token == NOISE:
                spans.append(Span.token(position, "filler"))
            else:
                spans.append(Span.token(position, "value", item))
                item += 1
        marks = range(segment.items)
        return [*spans, *(Span.token(N + mark, "query", mark) for mark in marks)]
