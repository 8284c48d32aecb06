"""Associative recall with a single query: H3, 2212.14052, section 3.1.

Keys and their values alternate. A key may return, always with the same value; the map is drawn
afresh for every example. After a mark one of the keys shown is asked for. With two pairs listed in
L=8 tokens, where ``=`` is the mark and ``-`` is not asked:

    inputs   k0 v0 k1 v1 k0 v0 =  k1
    labels   -  -  -  -  -  -  -  v1

The model has to find one association, at the very end: the task tests content-based lookup and
hardly capacity. Zoology (2312.04927) shows that models which solve it fail on many queries.

Defaults are those of the authors' code (HazyResearch/safari): 20 pairs before the mark, a
vocabulary of 20, 5,000 examples. Their loss in training counts every other next token as well; here
only the answer is asked. Their vocabulary spends one more token on a mark that never occurs.

Shapes: B rows, L length, N pairs listed, K keys there are, Q values there are.
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

MARK = 0
"""The token before the query."""

Segments: TypeAlias = Annotated[
    tuple[Segment, ...], BeforeValidator(read_text(Segment)), Field(min_length=1)
]
"""Segments, also read from text: ``length:examples`` joined by commas."""

TRAIN = segments_of(Segment, "42:5000")
TEST = segments_of(Segment, "42:500")


@register_task("ar")
class AssociativeRecall(SegmentedTask):
    """One query after pairs whose keys may repeat; the defaults are those of H3 (2212.14052).

    Token 0 is the mark, keys come from 1 to V/2-1 and values from V/2 to V-1, V being the
    vocabulary; both are drawn with replacement. An example of L tokens lists (L-2)/2 pairs. Raises
    `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(20, ge=4, description="tokens; half are keys, half values")
    train: Segments = Field(TRAIN, description="length:examples,…")
    validation: Segments = Field(TEST, description="length:examples,…")
    test: Segments = Field(TEST, description="length:examples,…")

    def misfit(self, segment: Segment) -> str | None:
        L = segment.length
        if L < 4 or L % 2:
            return (
                f"pairs, a mark and a query need an even length of at least 4. Expected length = "
                f"2 * pairs + 2, got {L}; the nearest is {max(L // 2 * 2, 4)}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    @property
    def _sizes(self) -> tuple[int, int]:
        """How many keys and how many values there are."""
        half = self.vocab_size // 2
        return half - 1, self.vocab_size - half

    def chance(self, segment: Segment) -> float:
        """A value at random: one over the number of values."""
        return 1 / self._sizes[1]

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The share of examples that show the query's pair within the window; else a guess.

        The query is one of the M keys shown, each equally likely, so it is among the m keys of the
        last pairs with probability E[m / M].
        """
        pairs = (segment.length - 2) // 2
        recent = min(max(window - 1, 0) // 2, pairs)
        keys, values = self._sizes
        reach = _expected_share(recent, pairs, keys)
        return reach + (1 - reach) / values

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the length and the gap: the distance from the query back to its key's last
        occurrence, rounded up to a power of two.
        """
        B, L, N = count, segment.length, (segment.length - 2) // 2
        K, Q = self._sizes
        value_of = torch.randint(Q, (B, K), generator=generator)
        keys = torch.randint(K, (B, N), generator=generator)
        # Uniform over the keys shown, however often each occurs: the one with the highest lot.
        lots = torch.rand(B, K, generator=generator)
        shown = torch.zeros(B, K).scatter_(1, keys, lots.gather(1, keys) + 1)
        query = shown.argmax(1, keepdim=True)  # (B, 1)

        inputs = torch.empty(B, L, dtype=torch.int64)
        inputs[:, 0:-2:2] = 1 + keys
        inputs[:, 1:-2:2] = 1 + K + value_of.gather(1, keys)
        inputs[:, -2] = MARK
        inputs[:, -1:] = 1 + query
        labels = torch.full((B, L), IGNORE)
        labels[:, -1:] = 1 + K + value_of.gather(1, query)

        last = ((keys == query) * torch.arange(N)).amax(1)  # (B,)
        gap = torch.zeros(B, L, dtype=torch.int64)
        gap[:, -1] = round_up(L - 1 - 2 * last)
        return Examples(inputs, labels, {"length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Keys and values, grouped by key in the order of appearance; the mark; the query."""
        row, group = inputs.tolist(), dict[int, int]()
        spans = []
        for position in range(0, segment.length - 2, 2):
            pair = group.setdefault(row[position], len(group))
            spans += [
                Span.token(position, "key", pair),
                Span.token(position + 1, "value", pair),
            ]
        end = segment.length
        return [
            *spans,
            Span(end - 2, end - 1, "other", name="mark"),
            Span(end - 1, end, "query", group[row[-1]]),
        ]


def _expected_share(some: int, draws: int, size: int) -> float:
    """E[m / M] of ``draws`` uniform draws with replacement from ``size`` numbers.

    M is how many distinct numbers the draws have, m how many the last ``some`` of them.
    """
    if some == 0:
        return 0.0
    # p[m, M] after the draws so far; by symmetry the first ``some`` may count for m.
    numbers = torch.arange(min(size, draws) + 1, dtype=torch.float64)
    p = torch.zeros(len(numbers), len(numbers), dtype=torch.float64)
    p[0, 0] = 1
    seen = numbers / size  # the next draw is an old number
    for draw in range(draws):
        new = p * (1 - seen)
        p = p * seen
        if draw < some:
            p[1:, 1:] += new[:-1, :-1]
        else:
            p[:, 1:] += new[:, :-1]
    return float((p * numbers[:, None] / numbers.clamp(min=1)).sum())
