"""Multi-query associative recall (MQAR): Zoology, 2312.04927, section 3 and appendix E.

``pairs`` keys and their values fill the first positions; each key is asked once later, at a
position drawn from a power law, and the answer is never fed back. With D=2 pairs and L=12, where
``.`` is filler and ``-`` is not asked:

    inputs   k0 v0 k1 v1 .  .  k1 .  k0 .  .  .
    labels   -  -  -  -  -  -  v1 -  v0 -  -  -

Shapes: B rows, L length, D pairs, M slots for queries.
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


class MQARSegment(Segment):
    """Examples of one length and number of pairs."""

    pairs: int = Field(ge=1, description="key-value pairs per example")


Segments: TypeAlias = Annotated[
    tuple[MQARSegment, ...], BeforeValidator(read_text(MQARSegment)), Field(min_length=1)
]
"""Segments, also read from text: ``length:pairs:examples`` joined by commas."""

FIGURE_2_TRAIN = segments_of(
    MQARSegment, "64:4:100000,128:8:20000,256:16:20000,256:32:20000,256:64:20000"
)
FIGURE_2_TEST = segments_of(
    MQARSegment,
    "64:4:1000,64:8:1000,64:16:1000,128:32:1000,256:64:1000,512:128:1000,1024:256:1000",
)


@register_task("mqar")
class MQAR(SegmentedTask):
    """Multi-query associative recall; the defaults are Figure 2 of Based (2402.18668).

    Keys come from 1 to V/2-1 and values from V/2 to V-1, V being the vocabulary, both without
    replacement within a row. Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(8192, ge=4, description="tokens; half are keys, half values")
    power_a: float = Field(
        0.01, ge=-10, le=10, description="query slot i has weight (i+1)^(a-1); 1 is uniform"
    )
    filler: Filler = "distinct"
    repeats: int = Field(1, ge=1, description="times the pairs are listed (JRT, 2407.05483)")
    train: Segments = Field(FIGURE_2_TRAIN, description="length:pairs:examples,…")
    validation: Segments = Field(FIGURE_2_TEST, description="length:pairs:examples,…")
    test: Segments = Field(FIGURE_2_TEST, description="length:pairs:examples,…")

    def misfit(self, segment: MQARSegment) -> str | None:
        L, D, p, keys = segment.length, segment.pairs, self.repeats, self.vocab_size // 2 - 1
        if 2 * D * (p + 1) > L:
            return (
                f"{D} pairs do not fit a length of {L}. Expected "
                f"2 * pairs * (repeats + 1) <= length, got 2 * {D} * ({p} + 1) = "
                f"{2 * D * (p + 1)} > {L}; at most {L // (2 * (p + 1))} pairs fit"
            )
        if keys < D:
            return (
                f"too few distinct keys for {D} pairs. Expected pairs <= vocab_size / 2 - 1, got "
                f"{D} > {self.vocab_size} / 2 - 1 = {keys}; a vocab_size of {2 * D + 2} is enough"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """A value at random: one over the number of values."""
        return 1 / (self.vocab_size - self.vocab_size // 2)

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """Queries whose value lies within ``window``; for the rest a guess among unseen values.

        Values are distinct, so that a guess leaves out the values in the window, at most one to
        every two tokens: no model can expect more than this, and little less. None for lengths
        above 4096, where the share of queries in reach takes minutes to compute.
        """
        assert isinstance(segment, MQARSegment)
        if segment.length > 4096:
            return None
        reached = float(
            bounds.window_ceiling(window, [segment], self.power_a, repeats=self.repeats)
        )
        seen = min(segment.pairs - 1, window // 2)
        return reached + (1 - reached) / (self.vocab_size - self.vocab_size // 2 - seen)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's pairs and length, and the gap of a query: the distance back to
        the last listing of its key, rounded up to a power of two. The value asked for lies within
        a window of w tokens, the current one included, exactly where the gap is at most w.
        """
        assert isinstance(segment, MQARSegment)
        B, L, D = count, segment.length, segment.pairs
        half, prefix = self.vocab_size // 2, 2 * D * self.repeats
        keys = 1 + choose_distinct(B, D, half - 1, generator)  # (B, D)
        values = half + choose_distinct(B, D, self.vocab_size - half, generator)  # (B, D)
        slots = torch.arange(1, (L - prefix) // 2 + 1, dtype=torch.float64)  # (M,)
        queries = prefix + 2 * choose_weighted(B, D, slots ** (self.power_a - 1), generator)

        inputs = torch.empty(B, L, dtype=torch.int64)
        pairs = torch.stack([keys, values], 2).reshape(B, 2 * D)
        inputs[:, :prefix] = pairs.repeat(1, self.repeats)
        inputs[:, prefix:] = fill(self.filler, keys, self.vocab_size, L - prefix, generator)
        inputs.scatter_(1, queries, keys)
        labels = torch.full((B, L), IGNORE).scatter_(1, queries, values)

        listed = prefix - 2 * D + 2 * torch.arange(D)  # (D,) positions of the last listing
        gaps = round_up(queries - listed)
        gap = torch.zeros(B, L, dtype=torch.int64).scatter_(1, queries, gaps)
        slices: dict[str, int | Tensor] = {"pairs": D, "length": L, "gap": gap, ANSWER: EACH_TOKEN}
        return Examples(inputs, labels, slices)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Keys, values and queries, grouped by pair; the rest is filler."""
        assert isinstance(segment, MQARSegment)
        L, D = segment.length, segment.pairs
        prefix = 2 * D * self.repeats
        pair_of = {int(key): pair for pair, key in enumerate(inputs[: 2 * D : 2])}
        spans = []
        for position in range(0, prefix, 2):
            pair = pair_of[int(inputs[position])]
            spans += [
                Span.token(position, "key", pair),
                Span.token(position + 1, "value", pair),
            ]
        for position in range(prefix, L):
            asked = int(labels[position]) != IGNORE
            spans.append(
                Span.token(position, "query", pair_of[int(inputs[position])])
                if asked
                else Span.token(position, "filler")
            )
        return spans
