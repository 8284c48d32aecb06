"""MQAR in which keys are given a new value: the forgetting MQAR of HazyResearch/zoology.

``pairs`` keys and their values come first, then ``updates`` of the keys again with another value
each; every key is asked once later, and its last value counts. With D=3 pairs, U=1 update and L=16,
where ``.`` is filler and ``-`` is not asked:

    inputs   k0 v0 k1 v1 k2 v2 k1 w1 .  .  k1 .  k2 .  k0 .
    labels   -  -  -  -  -  -  -  -  -  -  w1 -  v2 -  v0 -

It probes overwriting: a state that only adds to what it holds answers with a mixture of v1 and w1.
No paper states its settings; the defaults are those of zoology's experiment. There, new values
are drawn apart from the first ones and, by a slip of indices, may even equal the value that they
replace; here all values of a row are distinct, so a new value always differs.

Shapes: B rows, L length, D pairs, U updates, M slots for queries.
"""

from __future__ import annotations

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


class ForgettingSegment(Segment):
    """Examples of one length, number of pairs, and number of pairs that change."""

    pairs: int = Field(ge=1, description="key-value pairs an example")
    updates: int = Field(ge=0, description="keys that are given a new value, at most pairs")


Segments: TypeAlias = Annotated[
    tuple[ForgettingSegment, ...],
    BeforeValidator(read_text(ForgettingSegment)),
    Field(min_length=1, description="length:pairs:updates:examples,…"),
]
"""Segments, also read from text: ``length:pairs:updates:examples`` joined by commas."""

TRAIN = segments_of(
    ForgettingSegment,
    "64:4:4:100000,128:9:4:20000,256:16:4:20000,256:25:4:20000,256:36:4:20000",
)
TEST = segments_of(
    ForgettingSegment,
    "64:4:4:1000,64:9:4:1000,128:16:4:1000,256:36:4:1000,512:64:4:1000,1024:144:4:1000,"
    "2048:256:4:1000",
)


@register_task("forgetting-mqar")
class ForgettingMQAR(SegmentedTask):
    """MQAR whose last assignment of a key counts; the defaults are those of zoology.

    Keys come from 1 to V/2-1 and values from V/2 to V-1, V being the vocabulary, both without
    replacement within a row. Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(8192, ge=4, description="tokens; half are keys, half values")
    power_a: float = Field(
        0.01, ge=-10, le=10, description="query slot i has weight (i+1)^(a-1); 1 is uniform"
    )
    filler: Filler = "distinct"
    train: Segments = TRAIN
    validation: Segments = TEST
    test: Segments = TEST

    def misfit(self, segment: ForgettingSegment) -> str | None:
        L, D, U = segment.length, segment.pairs, segment.updates
        half = self.vocab_size // 2
        if U > D:
            return f"only a pair that is there can change. Expected updates <= pairs, got {U} > {D}"
        if 2 * (2 * D + U) > L:
            return (
                f"{D} pairs and {U} updates do not fit a length of {L}. Expected "
                f"2 * (2 * pairs + updates) <= length, got {2 * (2 * D + U)} > {L}"
            )
        if half - 1 < D:
            return (
                f"too few distinct keys for {D} pairs. Expected pairs <= vocab_size / 2 - 1, got "
                f"{D} > {self.vocab_size} / 2 - 1 = {half - 1}"
            )
        if self.vocab_size - half < D + U:
            return (
                f"too few distinct values. Expected pairs + updates <= vocab_size / 2, got "
                f"{D} + {U} > {self.vocab_size - half}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """A value at random: one over the number of values."""
        return 1 / (self.vocab_size - self.vocab_size // 2)

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """Queries whose last value lies within ``window``; else a guess among unseen values.

        The j-th key listed is asked at the j-th slot drawn; it changes with probability U/D, and
        then at each update alike. None for lengths above 4096, as for MQAR.
        """
        assert isinstance(segment, ForgettingSegment)
        L, D, U = segment.length, segment.pairs, segment.updates
        if L > 4096:
            return None
        context = 2 * (D + U)
        slots = (L - context) // 2
        order = torch.from_numpy(bounds.draw_order(slots, D, self.power_a))  # (M, D)
        query = context + 2 * torch.arange(slots)[:, None]
        first = query - 2 * torch.arange(D) <= window  # (M, D)
        reached = (1 - U / D) * (order * first).sum() / D
        if U:
            update = query - 2 * D - 2 * torch.arange(U) <= window  # (M, U)
            share = update.double().mean(1, keepdim=True)  # (M, 1)
            reached += U / D * (order * share).sum() / D
        reach = min(float(reached), 1.0)
        seen = min(D + U - 1, window // 2)
        return reach + (1 - reach) / (self.vocab_size - self.vocab_size // 2 - seen)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's pairs, updates and length, whether a query's key has changed, and
        the gap: the distance back to its last assignment, rounded up to a power of two.
        """
        assert isinstance(segment, ForgettingSegment)
        B, L, D, U = count, segment.length, segment.pairs, segment.updates
        half, context = self.vocab_size // 2, 2 * (D + U)
        keys = 1 + choose_distinct(B, D, half - 1, generator)  # (B, D)
        values = half + choose_distinct(B, D + U, self.vocab_size - half, generator)
        changed = choose_distinct(B, U, D, generator)  # (B, U): which pairs
        slots = torch.arange(1, (L - context) // 2 + 1, dtype=torch.float64)  # (M,)
        queries = context + 2 * choose_weighted(B, D, slots ** (self.power_a - 1), generator)

        inputs = torch.empty(B, L, dtype=torch.int64)
        inputs[:, 0:context:2] = torch.cat([keys, keys.gather(1, changed)], 1)
        inputs[:, 1:context:2] = values
        inputs[:, context:] = fill(self.filler, keys, self.vocab_size, L - context, generator)
        inputs.scatter_(1, queries, keys)

        # Which of the D + U assignments is a pair's last.
        last = torch.arange(D).repeat(B, 1).scatter_(1, changed, (D + torch.arange(U)).expand(B, U))
        labels = torch.full((B, L), IGNORE).scatter_(1, queries, values.gather(1, last))
        updated = torch.zeros_like(labels).scatter_(1, queries, (last >= D).long())
        gap = torch.zeros_like(labels).scatter_(1, queries, round_up(queries - 2 * last))
        sizes = {"pairs": D, "updates": U, "length": L}
        slices: dict[str, int | Tensor] = {
            **sizes,
            "updated": updated,
            "gap": gap,
            ANSWER: EACH_TOKEN,
        }
        return Examples(inputs, labels, slices)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Keys, values and queries, grouped by key; the rest is filler."""
        assert isinstance(segment, ForgettingSegment)
        row, context = inputs.tolist(), 2 * (segment.pairs + segment.updates)
        pair_of = {key: pair for pair, key in enumerate(row[: 2 * segment.pairs : 2])}
        spans = []
        for position in range(0, context, 2):
            pair = pair_of[row[position]]
            spans += [
                Span.token(position, "key", pair),
                Span.token(position + 1, "value", pair),
            ]
        for position in range(context, segment.length):
            asked = int(labels[position]) != IGNORE
            pair_asked = pair_of[row[position]] if asked else None
            spans.append(Span.token(position, "query" if asked else "filler", pair_asked))
        return spans
