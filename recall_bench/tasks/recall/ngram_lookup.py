"""Looking up what follows an n-gram: Repeat After Me, 2402.01032, section 3.2.

An n-gram occurs once in a string of random letters; the letters after it are asked for. The n-gram
stands behind the string ("suffix") or before it ("prefix"). With n=2, two letters asked, ``^`` the
start, ``|`` the end of the string or of the n-gram, and ``-`` where nothing is asked:

    suffix   ^  c  a  d  b  b  e  |  a  d  b        prefix   ^  a  d  |  c  a  d  b  b  e  |  b
    labels   -  -  -  -  -  -  -  -  -  b  b        labels   -  -  -  -  -  -  -  -  -  -  b  b

The answer is fed back, as when a language model is trained; its tokens are all right exactly where
greedy decoding would find them (`exact_match`). The two keys differ in what has to be kept: with
the n-gram known from the start a state needs a few letters only, with the n-gram behind the string
it needs them all.

Alphabet, n-gram and strings of 20 to 50 letters are the defaults of the authors' code, which by
default asks for all the rest of the string: the answer of five letters is ours, and the code's
closing mark, always at the same place then, is not asked for. The code takes the first occurrence
of an n-gram that may occur again; here it occurs once, as the paper says. The code draws the place
of the n-gram so that it never asks for the last three letters of a string; here every answer that
the string can hold is as likely as any other, its end included.

Shapes: B rows, L length, S letters at most, n letters of the n-gram, m letters of the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor


class NgramSegment(Segment):
    """Examples of one length; their strings have at least ``shortest`` letters."""

    shortest: int = Field(ge=1, description="letters of the shortest string")


Segments: TypeAlias = Annotated[
    tuple[NgramSegment, ...],
    BeforeValidator(read_text(NgramSegment)),
    Field(min_length=1, description="length:shortest:examples,…"),
]
"""Segments, also read from text: ``length:shortest:examples`` joined by commas."""

TRAIN = segments_of(NgramSegment, "60:20:100000")
VALIDATION = segments_of(NgramSegment, "60:20:1000")
TEST = segments_of(NgramSegment, "30:20:1000,60:50:1000,110:100:1000,210:200:1000")


@register_task("ngram-lookup")
class NgramLookup(SegmentedTask):
    """What follows an n-gram in a string; the defaults are those of Repeat After Me (2402.01032).

    Letters are 0 to A-1, uniform given that the n-gram occurs once; A starts a sequence, A+1 ends
    string and n-gram, A+2 fills what is left. The number of letters is uniform from ``shortest`` to
    length - n - m - 2, whichever the key is. Raises `ValueError` for what cannot be built.
    """

    key: Literal["suffix", "prefix"] = Field(
        "suffix", description="the n-gram stands after the string, or before it"
    )
    alphabet: int = Field(26, ge=2, description="letters there are")
    ngram: int = Field(3, ge=1, description="letters of the n-gram")
    answer: int = Field(5, ge=1, description="letters asked for")
    train: Segments = TRAIN
    validation: Segments = VALIDATION
    test: Segments = TEST

    def longest(self, segment: Segment) -> int:
        """Letters of a segment's longest string."""
        return segment.length - self.ngram - self.answer - 2

    def misfit(self, segment: NgramSegment) -> str | None:
        A, n, m = self.alphabet, self.ngram, self.answer
        shortest, longest = segment.shortest, self.longest(segment)
        if shortest > longest:
            return (
                f"strings of {shortest} letters, n-gram and answer do not fit a length of "
                f"{segment.length}. Expected shortest + ngram + answer + 2 <= length, got "
                f"{shortest} + {n} + {m} + 2 = {shortest + n + m + 2} > {segment.length}"
            )
        if n + m > shortest:
            return (
                f"n-gram and answer do not fit into {shortest} letters. Expected "
                f"ngram + answer <= shortest, got {n} + {m} > {shortest}"
            )
        if longest - n > A**n:
            return (
                f"hardly any {n}-gram occurs once in {longest} letters. Expected "
                f"length - 2 * ngram - answer - 2 <= alphabet ** ngram, got {longest - n} > {A**n}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.alphabet + 3

    def chance(self, segment: Segment) -> float:
        """Any letter."""
        return 1 / self.alphabet

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        """The share of answers within ``window``; else a guess. None for a prefix.

        Whoever sees letters of the string without the n-gram before it can still guess one that
        it sees often, and no simple share is the best then.
        """
        assert isinstance(segment, NgramSegment)
        if self.key == "prefix":
            return None
        sizes = range(segment.shortest, self.longest(segment) + 1)
        reach = 0.0
        for size in sizes:
            places = size - self.ngram - self.answer + 1  # of the n-gram; its gap is size - it + 1
            reach += min(max(places - (size + 1 - window), 0), places) / places / len(sizes)
        return reach + (1 - reach) / self.alphabet

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's shortest string and length, and the gap: how far back the letter
        asked for stands plus one, rounded up to a power of two.
        """
        assert isinstance(segment, NgramSegment)
        B, L, n, m, A = count, segment.length, self.ngram, self.answer, self.alphabet
        size = torch.randint(
            segment.shortest, self.longest(segment) + 1, (B, 1), generator=generator
        )
        letters, place = self._strings(size, self.longest(segment), generator)
        passage = letters.gather(1, place + torch.arange(n + m))  # (B, n + m): n-gram and answer
        string = 1 if self.key == "suffix" else n + 2  # where it starts

        inputs = torch.full((B, L), A + 2)
        inputs[:, 0] = A
        inputs[:, string : string + letters.shape[1]] = letters
        after = string + size  # (B, 1)
        inputs.masked_fill_(torch.arange(L) > after, A + 2).scatter_(1, after, A + 1)
        if self.key == "suffix":
            query = after + n  # where the answer's first letter is asked for
            inputs.scatter_(1, after + 1 + torch.arange(n + m - 1), passage[:, :-1])
        else:
            query = after
            inputs[:, 1 : n + 1] = passage[:, :n]
            inputs[:, n + 1] = A + 1
            inputs.scatter_(1, after + 1 + torch.arange(m - 1), passage[:, n:-1])
        asked = query + torch.arange(m)  # (B, m)
        labels = torch.full((B, L), IGNORE).scatter_(1, asked, passage[:, n:])
        gaps = round_up(query - (string + place + n) + 1).expand(B, m)
        gap = torch.zeros_like(labels).scatter_(1, asked, gaps)
        return Examples(inputs, labels, {"shortest": segment.shortest, "length": L, "gap": gap})

    def _strings(self, size: Tensor, longest: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Letters (B, longest) and the place (B, 1) of an n-gram that occurs once in them.

        Strings, of which the first ``size`` (B, 1) letters count, are drawn again until that holds.
        """
        B, n = len(size), self.ngram
        letters = torch.empty(B, longest, dtype=torch.int64)
        place = torch.empty(B, 1, dtype=torch.int64)
        missing = torch.arange(B)
        starts = torch.arange(longest - n + 1)
        while len(missing):
            R, sizes = len(missing), size[missing]
            drawn = torch.randint(self.alphabet, (R, longest), generator=generator)
            lot = torch.rand(R, 1, dtype=torch.float64, generator=generator)
            position = (lot * (sizes - n - self.answer + 1)).long()
            same = starts <= sizes - n  # (R, starts)
            for letter in range(n):
                own = drawn.gather(1, position + letter)
                same &= drawn[:, letter : letter + len(starts)] == own
            letters[missing], place[missing] = drawn, position
            missing = missing[same.sum(1) > 1]
        return letters, place

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """The n-gram in the string, its answer, and where they are asked for."""
        row, n, m, A = inputs.tolist(), self.ngram, self.answer, self.alphabet
        ends = [position for position, token in enumerate(row) if token == A + 1]
        string, end = (1, ends[0]) if self.key == "suffix" else (n + 2, ends[1])
        key = end + 1 if self.key == "suffix" else 1
        query = int((labels != IGNORE).nonzero()[0, 0])
        starts = range(string, end - n + 1)
        place = next(
            position for position in starts if row[position : position + n] == row[key : key + n]
        )
        spans = [
            Span(0, 1, "other", name="start"),
            Span(string, place, "filler"),
            Span(place, place + n, "key", 0),
            Span(place + n, place + n + m, "value", 0),
            Span(place + n + m, end, "filler"),
            *(Span.token(position, "other", name="end") for position in ends if position != query),
            Span(key, min(key + n, query) if key < query else key, "key", 0),
            Span(query, query + m, "query", 0),
            Span(query + m, segment.length, "filler"),
        ]
        return sorted((s for s in spans if s.start < s.stop), key=lambda span: span.start)
