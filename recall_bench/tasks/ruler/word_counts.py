"""Common words and frequent words, RULER's aggregation tasks in tokens (2404.06654, section 3).

A list of words, some of which occur more often than others. The question at the end asks for those,
each answer after the ones before it. No single place holds an answer; the model has to take in the
whole list. With ``?`` for the mark, a and b common:

    inputs   c  a  b  a  d  b  b  a  e  ?  a
    labels   -  -  -  -  -  -  -  -  -  a  b

- **common-words**: ``common`` words ``often`` times each among others ``seldom`` times each; in
  RULER 10 words 30 times, the others 3 times. All common words are equally common and RULER takes
  any order; a label needs one, so they are asked for in the order of their numbers.
- **frequent-words**: the word of rank k occurs L / k^alpha / zeta(alpha) times, rounded down; in
  RULER alpha is 2. The first rank is noise, one and the same token that is never asked for, and the
  ``asked`` ranks after it (three in RULER) are, the most frequent first.

RULER's shortest length is 4096, with 500 examples a length; lengths in training are ours. A word is
one token of 2048, and every row has words of its own. RULER numbers its list of common words, and
leaves out what ``seldom`` does not divide; ours has no numbers, and begins with padding. Below 4096
tokens its released code takes 6 times against once, which is ``length:10:6:1:examples`` here.

Making a row is shuffling it: one core makes about 100,000 rows of 512 tokens a second, but
7,000 to 20,000 of 4096.

Shapes: B rows, L length, W words in the list.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.zeta import zeta

if TYPE_CHECKING:
    from torch import Generator, Tensor

NOISE, ASK, FIRST = 0, 1, 2
"""Padding, or the noise of frequent words; the token before the question; the first word."""


class _WordCounts(SegmentedTask):
    """Common base of the two tasks: the vocabulary, and a question after a shuffled list."""

    words: int

    @property
    def tokens(self) -> int:
        return FIRST + self.words

    def asked(self, segment: Segment) -> int:
        """How many words are asked for."""
        raise NotImplementedError

    def counts(self, segment: Segment) -> list[int]:
        """How often each different word occurs, those asked for first."""
        raise NotImplementedError

    def room(self, segment: Segment) -> int:
        """Tokens before the question: the last answer is no input, the mark is one."""
        return segment.length - self.asked(segment)

    def question(
        self, segment: Segment, listed: Tensor, answers: Tensor, **slices: int
    ) -> Examples:
        """The examples that ask for ``answers`` (B, asked) after ``listed`` (B, room)."""
        mark = torch.full((len(listed), 1), ASK)
        inputs = torch.cat([listed, mark, answers[:, :-1]], 1)
        labels = torch.full_like(inputs, IGNORE)
        labels[:, listed.shape[1] :] = answers
        return Examples(inputs, labels, {"length": segment.length, **slices})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Words that are asked for are values, grouped by word; the others are filler."""
        room = self.room(segment)
        group = {int(word): rank for rank, word in enumerate(labels[room:])}
        spans = [
            Span.token(position, "value", group[word])
            if word in group
            else Span.token(position, "filler")
            for position, word in enumerate(inputs[:room].tolist())
        ]
        asked = range(room, segment.length)
        return spans + [Span.token(position, "query", rank) for rank, position in enumerate(asked)]


def shuffle(words: Tensor, bits: int, generator: Generator) -> Tensor:
    """Each row of words (rows, n), numbers of at most ``bits`` bits, in a random order."""
    packed = torch.empty_like(words).random_(generator=generator)  # 63 bits
    packed.bitwise_and_(-1 << bits).bitwise_or_(words)
    packed.numpy().sort(axis=1)
    return packed.bitwise_and_((1 << bits) - 1)


class CommonWordsSegment(Segment):
    """Examples of one length and set of counts."""

    common: int = Field(ge=1, description="words that occur often, all of which are asked for")
    often: int = Field(ge=2, description="times that each of them occurs")
    seldom: int = Field(ge=1, description="times that each other word occurs")


CommonSegments: TypeAlias = Annotated[
    tuple[CommonWordsSegment, ...],
    BeforeValidator(read_text(CommonWordsSegment)),
    Field(min_length=1),
]
_COMMON = {
    "train": segments_of(CommonWordsSegment, "512:10:30:3:20000"),
    "validation": segments_of(CommonWordsSegment, "512:10:30:3:500"),
    "test": segments_of(
        CommonWordsSegment,
        "512:10:30:3:500,1024:10:30:3:500,2048:10:30:3:500,4096:10:30:3:500",
    ),
}


@register_task("common-words")
class CommonWords(_WordCounts):
    """The words that occur often; the defaults are RULER's, at lengths of ours.

    Raises `ValueError` for a segment that cannot be built.
    """

    words: int = Field(2048, ge=3, le=1 << 20, description="different words there are")
    train: CommonSegments = Field(
        _COMMON["train"], description="length:common:often:seldom:examples,…"
    )
    validation: CommonSegments = Field(
        _COMMON["validation"], description="length:common:often:seldom:examples,…"
    )
    test: CommonSegments = Field(
        _COMMON["test"], description="length:common:often:seldom:examples,…"
    )

    def misfit(self, segment: CommonWordsSegment) -> str | None:
        k, a, b, L = segment.common, segment.often, segment.seldom, segment.length
        if b >= a:
            return f"expected seldom < often, got {b} >= {a}"
        if k * a + b + k > L:
            return (
                f"the words do not fit. Expected common * often + seldom + common <= length, got "
                f"{k} * {a} + {b} + {k} = {k * a + b + k} > {L}"
            )
        different = len(self.counts(segment))
        if different > self.words:
            return (
                f"too few words. Expected common + (length - common * (often + 1)) // seldom <= "
                f"words, got {k} + {L - k * (a + 1)} // {b} = {different} > {self.words}"
            )
        return None

    def asked(self, segment: Segment) -> int:
        assert isinstance(segment, CommonWordsSegment)
        return segment.common

    def counts(self, segment: Segment) -> list[int]:
        assert isinstance(segment, CommonWordsSegment)
        k, a, b = segment.common, segment.often, segment.seldom
        return [a] * k + [b] * ((self.room(segment) - k * a) // b)

    def chance(self, segment: Segment) -> float:
        """The likeliest word at each place, the mean over places.

        The i-th smallest of k of n words is the v-th word with probability
        C(v-1, i-1) C(n-v, k-i) / C(n, k).
        """
        n, k = self.words, self.asked(segment)
        best = [
            max(_order_statistic(n, k, i, v) for v in _around(n, k, i)) for i in range(1, k + 1)
        ]
        return sum(best) / k

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows; slices are the segment's options. All words are one answer."""
        assert isinstance(segment, CommonWordsSegment)
        k, counts, room = segment.common, self.counts(segment), self.room(segment)
        words = FIRST + choose_distinct(count, len(counts), self.words, generator)
        repeated = words.repeat_interleave(torch.tensor(counts), 1)
        listed = shuffle(repeated, (self.tokens - 1).bit_length(), generator)
        padding = torch.full((count, room - listed.shape[1]), NOISE)
        answers = words[:, :k].contiguous()
        answers.numpy().sort(axis=1)
        return self.question(
            segment,
            torch.cat([padding, listed], 1),
            answers,
            common=k,
            often=segment.often,
            seldom=segment.seldom,
        )


def _order_statistic(n: int, k: int, i: int, v: int) -> float:
    """The probability that the i-th smallest of k of the numbers 1 to n is v."""
    return math.comb(v - 1, i - 1) * math.comb(n - v, k - i) / math.comb(n, k)


def _around(n: int, k: int, i: int) -> range:
    """Numbers among which the likeliest value of the i-th smallest is."""
    likeliest = 1 + (i - 1) * n // max(k - 1, 1)
    return range(max(i, likeliest - 2), min(n - k + i, likeliest + 2) + 1)


class FrequentWordsSegment(Segment):
    """Examples of one length."""

    asked: int = Field(ge=1, description="words that are asked for, the most frequent ones")


FrequentSegments: TypeAlias = Annotated[
    tuple[FrequentWordsSegment, ...],
    BeforeValidator(read_text(FrequentWordsSegment)),
    Field(min_length=1),
]
_FREQUENT = {
    "train": segments_of(FrequentWordsSegment, "512:3:20000"),
    "validation": segments_of(FrequentWordsSegment, "512:3:500"),
    "test": segments_of(FrequentWordsSegment, "512:3:500,1024:3:500,2048:3:500,4096:3:500"),
}


@register_task("frequent-words")
class FrequentWords(_WordCounts):
    """The most frequent words; the defaults are RULER's, at lengths of ours.

    Raises `ValueError` for a segment that cannot be built.
    """

    words: int = Field(2048, ge=2, le=1 << 20, description="different words there are")
    alpha: float = Field(2.0, gt=1, le=10, description="exponent of the zeta distribution")
    train: FrequentSegments = Field(_FREQUENT["train"], description="length:asked:examples,…")
    validation: FrequentSegments = Field(
        _FREQUENT["validation"], description="length:asked:examples,…"
    )
    test: FrequentSegments = Field(_FREQUENT["test"], description="length:asked:examples,…")

    def misfit(self, segment: FrequentWordsSegment) -> str | None:
        L, k = segment.length, segment.asked
        if k >= L:
            return f"the list and the question do not fit. Expected length > asked, got {L} <= {k}"
        counts = [*self.counts(segment), 0]
        asked = counts[: k + 1]
        if len(asked) <= k or any(a <= b for a, b in pairwise(asked)):
            return (
                f"the order of the words asked for would be a tie. Expected falling counts down to "
                f"the first word that is not asked for, got {asked} at alpha {self.alpha} in "
                f"{self.room(segment)} tokens; a longer example or fewer words asked for help"
            )
        if len(counts) - 1 > self.words:
            return f"too few words. Expected words >= {len(counts) - 1}, got {self.words}"
        return None

    def asked(self, segment: Segment) -> int:
        assert isinstance(segment, FrequentWordsSegment)
        return segment.asked

    def counts(self, segment: Segment) -> list[int]:
        """Those of the ranks from the second on that occur at all."""
        room = self.room(segment)
        total = zeta(self.alpha)
        counts: list[int] = []
        while (times := int(room * (len(counts) + 2) ** -self.alpha / total)) > 0:
            counts.append(times)
        return counts

    def chance(self, segment: Segment) -> float:
        """A word at random."""
        return 1 / self.words

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows; the slice is the segment's option. All words are one answer."""
        counts, room = self.counts(segment), self.room(segment)
        words = FIRST + choose_distinct(count, len(counts), self.words, generator)
        repeated = words.repeat_interleave(torch.tensor(counts), 1)
        noise = torch.full((count, room - repeated.shape[1]), NOISE)
        bits = (self.tokens - 1).bit_length()
        listed = shuffle(torch.cat([noise, repeated], 1), bits, generator)
        asked = self.asked(segment)
        return self.question(segment, listed, words[:, :asked], asked=asked)
