r"""A phone book: Repeat After Me, 2402.01032, section 4.2.

Lines of a name and its number; two of the lines again, to show how questions are answered; then a
third name, whose number is asked for. Names are two tokens and numbers 10 digits. With E=3 entries
of 3 digits, one of them shown, names as letters, ``:`` behind a name, ``;`` behind a line and ``-``
where nothing is asked:

    inputs   A B : 4 1 7 ; C D : 0 2 2 ; A D : 9 3 5 ; ;
             C D : 0 2 2 ; ;
             A D : 9 3
    labels   - - 9 3 5

The digits are fed back, as when a language model is trained; all are right exactly where greedy
decoding finds the number (`exact_match`). First and last names return in other entries, so both
have to match. It probes recall of long values by keys of several tokens.

The paper prompts pretrained language models with real names and 20 entries or more. Here the same
text is made of tokens so that small models can learn it: names are pairs from two lists and differ
within a book, digits are uniform (the code's first digit is never below 6), and the numbers of
entries are ours.

Shapes: B rows, L length, E entries, T tokens a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor

COLON, NEWLINE, NAMES = 10, 11, 12
"""Tokens after the ten digits; names begin at the last."""


class PhonebookSegment(Segment):
    """Examples of one length and number of entries."""

    entries: int = Field(ge=1, description="lines of the book")


Segments: TypeAlias = Annotated[
    tuple[PhonebookSegment, ...],
    BeforeValidator(read_text(PhonebookSegment)),
    Field(min_length=1, description="length:entries:examples,…"),
]
"""Segments, also read from text: ``length:entries:examples`` joined by commas."""

TRAIN = segments_of(PhonebookSegment, "112:5:20000,182:10:20000,322:20:20000")
TEST = segments_of(PhonebookSegment, "112:5:1000,182:10:1000,322:20:1000,602:40:1000,1162:80:1000")


@register_task("phonebook")
class Phonebook(SegmentedTask):
    """Look up a number by name, as in Repeat After Me (2402.01032), at sizes of our own.

    Tokens are the digits 0 to 9, the colon, the newline, first names and last names. Newlines fill
    up a longer example from the front. Raises `ValueError` for a segment that cannot be built.
    """

    names: int = Field(64, ge=2, description="first names there are, and last names")
    digits: int = Field(10, ge=1, description="digits of a number")
    shown: int = Field(2, ge=0, description="entries shown as answered questions")
    train: Segments = TRAIN
    validation: Segments = TEST
    test: Segments = TEST

    @property
    def _line(self) -> int:
        """Tokens of an entry: two names, colon, digits, newline."""
        return self.digits + 4

    @property
    def _question(self) -> int:
        """Tokens after the book's last line, but for the last digit, which is not fed back."""
        examples = self._line * self.shown + 1 if self.shown else 0
        return 1 + examples + self._line - 2

    def misfit(self, segment: PhonebookSegment) -> str | None:
        entries, line = segment.entries, self._line
        needed = line * entries + self._question
        if needed > segment.length:
            return (
                f"{entries} entries and the question do not fit a length of {segment.length}. "
                f"Expected {line} * entries + {self._question} <= length, got {needed} > "
                f"{segment.length}"
            )
        if entries < self.shown + 1:
            return (
                f"the entries shown and the one asked for differ. Expected shown + 1 <= entries, "
                f"got {self.shown} + 1 > {entries}"
            )
        if entries > self.names**2:
            return (
                f"too few names for {entries} entries. Expected entries <= names ** 2, got "
                f"{entries} > {self.names**2}"
            )
        return None

    @property
    def tokens(self) -> int:
        return NAMES + 2 * self.names

    def chance(self, segment: Segment) -> float:
        """Any digit."""
        return 1 / 10

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The share of entries whose number lies within ``window``; else a guess.

        All digits of a number are as far back as the first, and every entry is asked for alike.
        """
        assert isinstance(segment, PhonebookSegment)
        reach = float((self._gaps(segment.entries) <= window).double().mean())
        return reach + (1 - reach) / 10

    def _gaps(self, entries: int) -> Tensor:
        """(E,): how far back a digit of each entry stands where it is asked for, plus one."""
        asked = (
            self._line * entries + self._question - self.digits
        )  # the colon, from the first line
        return asked - (self._line * torch.arange(entries) + 3) + 1

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's entries and length, and the gap: how far back the digit asked for
        stands plus one, rounded up to a power of two.
        """
        assert isinstance(segment, PhonebookSegment)
        B, L, E, T = count, segment.length, segment.entries, self._line
        book = torch.empty(B, E, T, dtype=torch.int64)
        names = choose_distinct(B, E, self.names**2, generator)
        book[:, :, 0] = NAMES + names // self.names
        book[:, :, 1] = NAMES + self.names + names % self.names
        book[:, :, 2] = COLON
        book[:, :, 3:-1] = torch.randint(10, (B, E, self.digits), generator=generator)
        book[:, :, -1] = NEWLINE
        chosen = choose_distinct(B, self.shown + 1, E, generator)  # (B, shown + 1)
        lines = book.gather(1, chosen[:, :, None].expand(-1, -1, T))  # (B, shown + 1, T)

        inputs = torch.full((B, L), NEWLINE)
        start = L - T * E - self._question
        inputs[:, start : start + T * E] = book.flatten(1)
        question = L - (T - 2)
        if self.shown:
            inputs[:, question - 1 - T * self.shown : question - 1] = lines[:, :-1].flatten(1)
        inputs[:, question:] = lines[:, -1, :-2]
        labels = torch.full((B, L), IGNORE)
        labels[:, L - self.digits :] = lines[:, -1, 3:-1]
        gap = torch.zeros_like(labels)
        gap[:, L - self.digits :] = round_up(self._gaps(E))[chosen[:, -1:]]
        return Examples(inputs, labels, {"entries": E, "length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Names and numbers, grouped by entry, and the question."""
        row, L, T = inputs.tolist(), segment.length, self._line
        colons = [position for position, token in enumerate(row) if token == COLON]
        entry_of, spans, end = dict[tuple[int, int], int](), list[Span](), 0
        for colon in colons[:-1]:
            name = colon - 2
            entry = entry_of.setdefault((row[name], row[name + 1]), len(entry_of))
            if end < name:
                spans.append(Span(end, name, "filler"))
            end = name + T
            spans += [
                Span(name, colon, "key", entry),
                Span.token(colon, "other", name=":"),
                Span(colon + 1, end - 1, "value", entry),
                Span(end - 1, end, "other", name="\\n"),
            ]
        name = colons[-1] - 2
        entry = entry_of[row[name], row[name + 1]]
        return [*spans, Span(end, name, "filler"), Span(name, L, "query", entry)]
