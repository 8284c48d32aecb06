"""Set disjointness: Just Read Twice (JRT), 2407.05483, section 3 and appendix.

Two sets come one after the other, and the question is whether they share an element. With |A|=2 and
|B|=3, where ``(``, ``,`` and ``)`` are the marks and ``-`` is not asked:

    inputs   (  a0 a1 ,  b0 a1 b2 )
    labels   -  -  -  -  -  -  -  1

A recurrent model has to keep the first set to compare it with the second, so that its state grows
with the size of A alone: a small set first is easy, a large one first is hard, and the order in
which things are shown decides. Half of the examples share exactly one element, at random places.

The vocabulary of 2048, the sizes in training, each pair in both orders, and sizes up to (16, 768)
in the test are the paper's; the number of examples of each size is ours.

The text of the paper asks whether the sets share an element; its released code asks which. There
the sets always share one, and that token is the answer, one of some 2,000:

    inputs   (  a0 a1 ,  b0 a1 b2 )
    labels   -  -  -  -  -  -  -  a1

``question="which"`` is that task, with the released sizes and numbers of examples. Neither reading
solves the other: all its rows answer "whether" with 1.

Shapes: B rows, L length, a and b elements of the first and of the second set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import SegmentedTask, read_text

if TYPE_CHECKING:
    from torch import Generator, Tensor

FIRST, SECOND, END, PAD, ELEMENTS = 2, 3, 4, 5, 6
"""Tokens after the answers 0 (disjoint) and 1 (not); elements begin at the last."""


class SetSegment(Segment):
    """Examples of one length and two sizes of sets."""

    first: int = Field(ge=1, description="elements of the set that comes first")
    second: int = Field(ge=1, description="elements of the set that comes second")


Segments: TypeAlias = Annotated[
    tuple[SetSegment, ...],
    BeforeValidator(read_text(SetSegment)),
    Field(min_length=1, description="length:first:second:examples,…"),
]
"""Segments, also read from text: ``length:first:second:examples`` joined by commas."""

TRAINED = ((4, 16), (8, 32), (16, 64), (4, 128), (16, 256), (4, 256))


def _both_orders(sizes: tuple[tuple[int, int], ...], examples: int) -> tuple[SetSegment, ...]:
    return tuple(
        SetSegment(length=a + b + 3, first=first, second=second, examples=examples)
        for a, b in sizes
        for first, second in ((a, b), (b, a))
    )


RELEASED = {
    "train": _both_orders(((4, 16), (8, 32), (64, 16), (4, 128), (16, 256), (4, 256)), 20_000),
    "test": _both_orders(
        (
            *((1, 32), (4, 32), (4, 128), (16, 256), (4, 256)),
            *((16, 512), (4, 512), (8, 768), (16, 768), (4, 768)),
        ),
        1000,
    ),
}
"""The segments of the released code (HazyResearch/prefix-linear-attention)."""
TRAIN = _both_orders(TRAINED, 20_000)
VALIDATION = _both_orders(TRAINED, 1000)
TEST = _both_orders((*TRAINED, (16, 512), (16, 768)), 1000)


@register_task("set-disjointness")
class SetDisjointness(SegmentedTask):
    """Do two sets share an element, or which do they share? Sizes are those of JRT (2407.05483).

    Tokens 0 and 1 answer "whether", then come three marks, the padding, which fills a longer
    example from the front, and the elements. Raises `ValueError` for a segment that cannot be
    built.
    """

    question: Literal["whether", "which"] = Field(
        "whether",
        description="do the sets share an element, or which one; which: sizes as released",
    )
    vocab_size: int = Field(2048, ge=8, description="tokens; all but six are elements")
    train: Segments = TRAIN
    validation: Segments = VALIDATION
    test: Segments = TEST

    @model_validator(mode="before")
    @classmethod
    def _with_released_sizes(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("question") == "which":
            released = {**RELEASED, "validation": RELEASED["test"]}
            return {**released, **fields}
        return fields

    def misfit(self, segment: SetSegment) -> str | None:
        size, length = segment.first + segment.second, segment.length
        if size + 3 > length:
            return (
                f"two sets and three marks do not fit a length of {length}. Expected "
                f"first + second + 3 <= length, got {size + 3} > {length}"
            )
        if size > self.vocab_size - ELEMENTS:
            return (
                f"too few elements for sets of {segment.first} and {segment.second}. Expected "
                f"first + second <= vocab_size - {ELEMENTS}, got {size} > "
                f"{self.vocab_size - ELEMENTS}"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """Half of the examples share an element; or any element at all is the shared one."""
        return 1 / 2 if self.question == "whether" else 1 / (self.vocab_size - ELEMENTS)

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """Right where both places of the shared element are seen.

        The element is anywhere in each set, so that both its places lie among the elements in the
        window with the product of the two shares. Where they do not, the sets count as disjoint; or
        one of the elements seen in the second set is guessed.
        """
        assert isinstance(segment, SetSegment)
        a, b = segment.first, segment.second
        seen_b = min(max(window - 1, 0), b)
        seen_a = min(max(window - 2 - b, 0), a)
        both = seen_a / a * seen_b / b
        if self.question == "whether":
            return (1 + both) / 2
        return both + (1 - seen_a / a) / b if seen_b else self.chance(segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's sizes and length; if that is the question, also whether the sets
        share an element.
        """
        assert isinstance(segment, SetSegment)
        B, L, a, b = count, segment.length, segment.first, segment.second
        elements = ELEMENTS + choose_distinct(B, a + b, self.vocab_size - ELEMENTS, generator)
        which = self.question == "which"
        shared = (
            torch.ones(B, 1, dtype=torch.int64)
            if which
            else torch.randint(2, (B, 1), generator=generator)
        )
        source = torch.randint(a, (B, 1), generator=generator)
        target = a + torch.randint(b, (B, 1), generator=generator)
        element = elements.gather(1, source.where(shared == 1, target))
        elements.scatter_(1, target, element)

        inputs = torch.full((B, L), PAD)
        start = L - a - b - 3
        inputs[:, start] = FIRST
        inputs[:, start + 1 : start + 1 + a] = elements[:, :a]
        inputs[:, start + 1 + a] = SECOND
        inputs[:, -1 - b : -1] = elements[:, a:]
        inputs[:, -1] = END
        labels = torch.full((B, L), IGNORE)
        labels[:, -1:] = element if which else shared
        slices: dict[str, int | Tensor] = {"first": a, "second": b, "length": L}
        if not which:
            slices["shared"] = torch.nn.functional.pad(shared, (L - 1, 0))
        return Examples(inputs, labels, slices)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """The two sets, the shared element as a key and its return, and the question."""
        assert isinstance(segment, SetSegment)
        row, L, a, b = inputs.tolist(), segment.length, segment.first, segment.second
        start = L - a - b - 3
        first, second = range(start + 1, start + 1 + a), range(L - 1 - b, L - 1)
        shared = {row[position] for position in first} & {row[position] for position in second}
        marks = {start: "A", start + 1 + a: "B", L - 1: "?"}
        spans = [Span(0, start, "filler")] if start else []
        for position in range(start, L - 1):
            if position in marks:
                spans.append(Span.token(position, "other", name=marks[position]))
            elif row[position] in shared:
                spans.append(Span.token(position, "key" if position in first else "value", 0))
            else:
                spans.append(Span.token(position, "other"))
        return [*spans, Span(L - 1, L, "query", 0)]
