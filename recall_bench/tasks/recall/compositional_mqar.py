"""MQAR with keys of two tokens that mean nothing alone: the compositional MQAR of zoology.

``pairs`` is a square number G * G: each of G first parts goes with each of G second parts, and
every combination has a value of its own. The combinations are listed in random order; each is asked
once later. With G=2, D=4 and L=24, where ``.`` is filler and ``-`` is not asked:

    inputs   a0 b1 v0 a1 b0 v1 a1 b1 v2 a0 b0 v3 a1 b1 .  a0 b1 .  a0 b0 .  a1 b0 .
    labels   -  -  -  -  -  -  -  -  -  -  -  -  -  v2 -  -  v0 -  -  v3 -  -  v1 -

It probes binding: whoever looks up one part alone finds G values and is right once in G times.
No paper states its settings; the defaults are those of the experiment in HazyResearch/zoology.

Shapes: B rows, L length, G parts, D = G * G pairs, M slots for queries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench import bounds
from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, EACH_TOKEN, IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.filler import Filler, fill
from recall_bench.tasks.tools.sampling import choose_distinct, choose_weighted
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor


class CompositionalSegment(Segment):
    """Examples of one length and number of pairs."""

    pairs: int = Field(ge=1, description="combinations with a value, a square number")


Segments: TypeAlias = Annotated[
    tuple[CompositionalSegment, ...],
    BeforeValidator(read_text(CompositionalSegment)),
    Field(min_length=1, description="length:pairs:examples,…"),
]
"""Segments, also read from text: ``length:pairs:examples`` joined by commas."""

TRAIN = segments_of(
    CompositionalSegment, "64:4:100000,128:9:20000,256:16:20000,256:25:20000,256:36:20000"
)
TEST = segments_of(
    CompositionalSegment,
    "64:4:1000,64:9:1000,128:16:1000,256:36:1000,512:64:1000,1024:144:1000,2048:256:1000",
)


@register_task("compositional-mqar")
class CompositionalMQAR(SegmentedTask):
    """MQAR over a grid of two-token keys; the defaults are those of zoology.

    First parts come from 1 to T-1, second parts from T to 2T-1 and values from 2T to V-1, V being
    the vocabulary and T a third of it, rounded down; all without replacement within a row. Raises
    `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(8192, ge=6, description="tokens; a third each are parts and values")
    power_a: float = Field(
        0.01, ge=-10, le=10, description="query slot i has weight (i+1)^(a-1); 1 is uniform"
    )
    filler: Filler = "distinct"
    train: Segments = TRAIN
    validation: Segments = TEST
    test: Segments = TEST

    def misfit(self, segment: CompositionalSegment) -> str | None:
        L, D, third = segment.length, segment.pairs, self.vocab_size // 3
        G = math.isqrt(D)
        if G * G != D:
            return (
                f"the pairs form a square grid. Expected pairs to be a square number, got {D}; "
                f"the nearest are {G * G} and {(G + 1) ** 2}"
            )
        if 6 * D > L:
            return (
                f"{D} pairs of three tokens and as many queries do not fit a length of {L}. "
                f"Expected 6 * pairs <= length, got 6 * {D} = {6 * D} > {L}"
            )
        if third - 1 < G:
            return (
                f"too few distinct first parts for a grid of {G} x {G}. Expected sqrt(pairs) <= "
                f"vocab_size / 3 - 1, got {G} > {self.vocab_size} / 3 - 1 = {third - 1}"
            )
        if self.vocab_size - 2 * third < D:
            return (
                f"too few distinct values for {D} pairs. Expected pairs <= vocab_size / 3, got "
                f"{D} > {self.vocab_size - 2 * third}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    @property
    def _values(self) -> int:
        """How many values there are."""
        return self.vocab_size - 2 * (self.vocab_size // 3)

    def chance(self, segment: Segment) -> float:
        """A value at random: one over the number of values."""
        return 1 / self._values

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """Queries whose value lies within ``window``; else a guess among unseen values.

        The j-th combination listed is asked at the j-th slot drawn. None for lengths above 4096, as
        for MQAR.
        """
        assert isinstance(segment, CompositionalSegment)
        L, D = segment.length, segment.pairs
        if L > 4096:
            return None
        slots = (L - 3 * D) // 3
        order = torch.from_numpy(bounds.draw_order(slots, D, self.power_a))  # (M, D)
        query = 3 * D + 3 * torch.arange(slots)[:, None]
        within = query - 3 * torch.arange(D) <= window  # (M, D)
        reach = min(float((order * within).sum() / D), 1.0)
        seen = min(D - 1, (window + 1) // 3)
        return reach + (1 - reach) / (self._values - seen)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's pairs and length, and the gap: the distance between the two places
        of a combination, rounded up to a power of two. The value asked for lies within a window of
        w tokens, the current one included, exactly where the gap is at most w.
        """
        assert isinstance(segment, CompositionalSegment)
        B, L, D, third = count, segment.length, segment.pairs, self.vocab_size // 3
        G = math.isqrt(D)
        parts = torch.cat(
            [
                1 + choose_distinct(B, G, third - 1, generator),
                third + choose_distinct(B, G, third, generator),
            ],
            1,
        )  # (B, 2G): first parts, then second parts
        values = 2 * third + choose_distinct(B, D, self._values, generator)  # (B, D)
        cell = choose_distinct(B, D, D, generator)  # (B, D), a permutation: row-major in the grid
        first = parts.gather(1, cell // G)
        second = parts.gather(1, G + cell % G)
        slots = torch.arange(1, (L - 3 * D) // 3 + 1, dtype=torch.float64)  # (M,)
        queries = 3 * D + 3 * choose_weighted(B, D, slots ** (self.power_a - 1), generator)

        inputs = torch.empty(B, L, dtype=torch.int64)
        inputs[:, : 3 * D] = torch.stack([first, second, values], 2).reshape(B, 3 * D)
        inputs[:, 3 * D :] = fill(self.filler, parts, self.vocab_size, L - 3 * D, generator)
        inputs.scatter_(1, queries, first).scatter_(1, queries + 1, second)
        labels = torch.full((B, L), IGNORE).scatter_(1, queries + 1, values)

        gaps = round_up(queries - 3 * torch.arange(D))
        gap = torch.zeros_like(labels).scatter_(1, queries + 1, gaps)
        slices: dict[str, int | Tensor] = {"pairs": D, "length": L, "gap": gap, ANSWER: EACH_TOKEN}
        return Examples(inputs, labels, slices)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Keys of two tokens, values and queries, grouped by combination; the rest is filler."""
        assert isinstance(segment, CompositionalSegment)
        row, context = inputs.tolist(), 3 * segment.pairs
        pair_of, spans = dict[tuple[int, int], int](), []
        for pair, position in enumerate(range(0, context, 3)):
            pair_of[row[position], row[position + 1]] = pair
            spans += [
                Span(position, position + 2, "key", pair),
                Span.token(position + 2, "value", pair),
            ]
        start = context
        for position in (labels != IGNORE).nonzero().flatten().tolist():
            if start < position - 1:
                spans.append(Span(start, position - 1, "filler"))
            spans.append(
                Span(position - 1, position + 1, "query", pair_of[row[position - 1], row[position]])
            )
            start = position + 1
        return [*spans, Span(start, segment.length, "filler")] if start < len(row) else spans
