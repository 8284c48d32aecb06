"""MAD's fuzzy in-context recall (2403.17844).

As MAD's in-context recall, but keys and values are motifs of several tokens, each motif without a
repeated token. So keys must be put together before they can be told apart, and ``a`` and ``a b``
are different keys. Wherever a key returns, all tokens of its value are asked for, each after the
ones before it. With keys from a b c, values from 1 2 3, ``.`` for padding and L=16:

    inputs   .  .  a  b  3  c  1  2  a  b  3  a  2  c  1  2
    labels   -  -  -  -  -  -  -  -  -  3  -  -  -  1  2  -

Lengths are uniform: values have from one token to ``value_tokens``, and so have keys in training;
in validation and test keys always have ``key_tokens``. The field ``short_keys`` says which.

The last pair repeats the key of a pair that is drawn uniformly from those before it, so that every
row asks something: at a large vocabulary nothing else returns. Rows are padded on the left.

Where we differ from the released code: it plants the pair that it will ask about near a position
drawn uniformly, which may lie behind the last pair listed. About 2% of its rows (1.7% with short
keys, 2.2% without; we drew 40,000 of each) therefore ask for a key that they never showed; ours
never do. It also pads a little more: 2 to 7 tokens, 5 on average, where ours have 0 to 9, 3 to 4 on
average.

Shapes: B rows, L length, P pairs, K and V the most tokens of a key and of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, IGNORE, Examples, Segment, Span
from recall_bench.tasks.mad import setup
from recall_bench.tasks.tools.previous import first, previous
from recall_bench.tasks.tools.reach import ReachTask, Rounding
from recall_bench.tasks.tools.segments import read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor


class FuzzySegment(Segment):
    """Examples of one length, with short keys or without."""

    short_keys: int = Field(
        ge=0, le=1, description="1: keys of one token up to key_tokens; 0: all of key_tokens"
    )


Segments: TypeAlias = Annotated[
    tuple[FuzzySegment, ...], BeforeValidator(read_text(FuzzySegment)), Field(min_length=1)
]
BASELINE = {
    split: segments_of(FuzzySegment, text) for split, text in setup.splits("128:1", "128:0").items()
}
MAD_CHANGES: tuple[dict[str, Any], ...] = (
    *setup.vocabularies((32, 64, 128)),
    *(setup.splits(f"{length}:1", f"{length}:0") for length in (256, 512, 1024)),
    *setup.fewer("128:1"),
)
"""MAD's one-at-a-time changes of fuzzy recall."""


@register_task("mad-fuzzy-recall")
class MADFuzzyRecall(ReachTask):
    """MAD's fuzzy in-context recall; the defaults are its baseline.

    The last token of the vocabulary is padding; the first half of the others makes keys, the second
    half values. Raises `ValueError` for a segment or alphabet that cannot be built.
    """

    vocab_size: int = Field(16, ge=4, le=1 << 20, description="tokens: of keys, of values, padding")
    key_tokens: int = Field(3, ge=1, le=16, description="most tokens of a key")
    value_tokens: int = Field(3, ge=1, le=16, description="most tokens of a value")
    train: Segments = Field(BASELINE["train"], description="length:short_keys:examples,…")
    validation: Segments = Field(BASELINE["validation"], description="length:short_keys:examples,…")
    test: Segments = Field(BASELINE["test"], description="length:short_keys:examples,…")

    @model_validator(mode="after")
    def _check_that_motifs_exist(self) -> MADFuzzyRecall:
        n, values = self.alphabets()
        for what, longest, size in (
            ("key_tokens", self.key_tokens, n),
            ("value_tokens", self.value_tokens, values - 1),
        ):
            if longest > size:
                raise ValueError(
                    f"the alphabet is too small for motifs without repeated tokens. Expected "
                    f"{what} <= {size}, got {longest}; vocab_size {self.vocab_size} gives {n} "
                    f"tokens to keys and {values} to values (one of which must be left to guess)"
                )
        if (n + 1) ** self.key_tokens >= 1 << 44:
            raise ValueError(
                f"too many possible keys to tell them apart in 64 bits. Expected "
                f"{n + 1}^key_tokens < 2^44, got {n + 1}^{self.key_tokens}"
            )
        return self

    def misfit(self, segment: FuzzySegment) -> str | None:
        K, V = self.key_tokens, self.value_tokens
        if segment.length < 2 * (K + V):
            return (
                f"two pairs must fit. Expected length >= 2 * (key_tokens + value_tokens), got "
                f"{segment.length} < 2 * ({K} + {V}) = {2 * (K + V)}"
            )
        return None

    def alphabets(self) -> tuple[int, int]:
        """How many tokens keys and values are made of."""
        return (self.vocab_size - 1) // 2, self.vocab_size - 1 - (self.vocab_size - 1) // 2

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """A token of values at random."""
        return 1 / self.alphabets()[1]

    def guess(self, segment: Segment) -> float:
        """At most: the tokens of a motif differ, so the ones that were shown are ruled out."""
        return 1 / (self.alphabets()[1] - self.value_tokens + 1)

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """Slices are length, short keys, the tokens of the key, and the gap.

        The gap is the distance between a key and its nearest showing, which is how far the token
        asked for lies back from the token before it, plus one. An answer is one value.
        """
        assert isinstance(segment, FuzzySegment)
        (n, values), K, V = self.alphabets(), self.key_tokens, self.value_tokens
        B, L, short = count, segment.length, 1 if segment.short_keys else K
        room = L - (K + V)  # for all pairs but the last
        most = room // (short + 1) + 1

        key_size = short + torch.randint(K - short + 1, (B, most), generator=generator)
        P = 1 + int(((key_size + 1).cumsum(1) <= room).sum(1).max())  # whatever the values' sizes
        key_size = key_size[:, :P]
        keys = _motifs(B, P, K, n, generator)
        code = torch.zeros(B, P, dtype=torch.int64)
        for place, token in enumerate(keys):
            code += ((token + 1) * (place < key_size)) * (n + 1) ** place
        origin = first(code)  # the pair whose value the key has
        value_size = 1 + torch.randint(V, (B, P), generator=generator).gather(1, origin)
        motifs = _motifs(B, P, V, values, generator)

        sizes = key_size + value_size
        last = (sizes.cumsum(1) <= room).sum(1, keepdim=True)  # (B, 1), pairs before the last
        shown = torch.rand(B, 1, generator=generator, dtype=torch.float64) * last
        again = torch.arange(P).repeat(B, 1).scatter_(1, last, shown.long())  # (B, P)
        before, repeated = previous(code.gather(1, again))
        key_size, sizes = key_size.gather(1, again), sizes.gather(1, again)
        table = torch.stack(
            [token.gather(1, again) for token in keys]
            + [n + token.gather(1, origin.gather(1, again)) for token in motifs],
            2,
        )  # (B, P, K + V)

        ends = sizes.cumsum(1)
        starts = ends - sizes + L - ends.gather(1, last)  # (B, P); pairs past the last start at L
        marks = torch.zeros(B, L + 1, dtype=torch.int64)
        marks.scatter_(1, starts.clamp(max=L), 1)
        pair = marks[:, :L].cumsum(1) - 1  # (B, L), -1 in the padding
        inside, pair = pair >= 0, pair.clamp(min=0)
        offset = torch.arange(L) - starts.gather(1, pair)
        size = key_size.gather(1, pair)
        is_value = inside & (offset >= size)
        column = offset.clamp(min=0) + is_value * (K - size)
        inputs = table.flatten(1).gather(1, pair * (K + V) + column)
        inputs.masked_fill_(~inside, self.vocab_size - 1)

        asked = (is_value & repeated.gather(1, pair))[:, 1:]
        labels = torch.full((B, L), IGNORE)
        labels[:, :-1] = torch.where(asked, inputs[:, 1:], IGNORE)
        gaps = rounding(starts - starts.gather(1, before))
        slices: dict[str, int | Tensor] = {
            "length": L,
            "short_keys": segment.short_keys,
            "key_tokens": _next(size),
            "gap": _next(gaps.gather(1, pair)),
            ANSWER: _next(pair),
        }
        return Examples(inputs, labels, slices)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Motifs of keys and values grouped by key; a key that returns is a query."""
        row, n, L = inputs.tolist(), self.alphabets()[0], segment.length
        padding = row.count(self.vocab_size - 1)
        spans = [Span(0, padding, "filler")] if padding else []
        group_of: dict[tuple[int, ...], int] = {}
        position = padding
        while position < L:
            middle = next(end for end in range(position, L) if row[end] >= n)
            stop = next((end for end in range(middle, L) if row[end] < n), L)
            group = group_of.setdefault(tuple(row[position:middle]), len(group_of))
            asked = int(labels[middle - 1]) != IGNORE
            spans.append(Span(position, middle, "query" if asked else "key", group))
            spans.append(Span(middle, stop, "value", group))
            position = stop
        return spans


def _motifs(rows: int, pairs: int, count: int, size: int, generator: Generator) -> list[Tensor]:
    """``count`` tokens below ``size``, each (rows, pairs), that differ from one another.

    Uniform over all such sequences: token i is drawn as a rank among the tokens that those before
    it leave, and the ranks are read from the last one backwards (Lehmer's code).
    """
    tokens = [torch.randint(size - i, (rows, pairs), generator=generator) for i in range(count)]
    for i in range(count - 2, -1, -1):
        for later in tokens[i + 1 :]:
            later += later >= tokens[i]
    return tokens


def _next(values: Tensor) -> Tensor:
    """(B, L) what the next position has; the last position has 0."""
    return torch.nn.functional.pad(values[:, 1:], (0, 1))
