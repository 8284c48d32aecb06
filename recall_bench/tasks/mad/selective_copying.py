"""MAD's selective copying (2403.17844).

Data tokens lie scattered among blanks; after the copy mark the model has to repeat them in order.
Blanks stand where the answers belong, so that the answers are never fed back. With two data tokens,
L=9, ``.`` for blanks and ``=`` for the mark:

    inputs   .  b  .  .  a  .  =  .  .
    labels   -  -  -  -  -  -  -  b  a

Little has to be remembered; the difficulty is to remember nothing else, and the order.

Where the released code differs: it puts every blank in front of a data token drawn uniformly, from
a global random state, so that the last data token always stands right before the mark. Here blanks
are inserted at random as described: the places of the data are uniform among all.

Shapes: B rows, L length, T data tokens, M places for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.mad import setup
from recall_bench.tasks.tools.reach import ReachTask, Rounding
from recall_bench.tasks.tools.sampling import choose_distinct, sort_rows
from recall_bench.tasks.tools.segments import read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor


class MADCopyingSegment(Segment):
    """Examples of one length and number of data tokens."""

    data: int = Field(ge=1, description="data tokens to copy")


Segments: TypeAlias = Annotated[
    tuple[MADCopyingSegment, ...],
    BeforeValidator(read_text(MADCopyingSegment)),
    Field(min_length=1),
]
BASELINE = {
    split: segments_of(MADCopyingSegment, text) for split, text in setup.splits("256:16").items()
}
MAD_CHANGES: tuple[dict[str, Any], ...] = (
    *setup.vocabularies((32, 64, 128)),
    *(setup.splits(form) for form in ("512:16", "1024:16")),
    *setup.fewer("256:16"),
    *(setup.splits(form) for form in ("256:32", "256:64", "256:96")),
)
"""MAD's one-at-a-time changes of selective copying."""


@register_task("mad-selective-copying")
class MADSelectiveCopying(ReachTask):
    """MAD's selective copying; the defaults are its baseline.

    The last two tokens of the vocabulary are the blank and the copy mark, the others are data.
    Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(16, ge=4, le=1 << 20, description="tokens: data, a blank, a mark")
    train: Segments = Field(BASELINE["train"], description="length:data:examples,…")
    validation: Segments = Field(BASELINE["validation"], description="length:data:examples,…")
    test: Segments = Field(BASELINE["test"], description="length:data:examples,…")

    def misfit(self, segment: MADCopyingSegment) -> str | None:
        L, T = segment.length, segment.data
        if 2 * T + 1 > L:
            return (
                f"{T} data tokens do not fit a length of {L}. Expected 2 * data + 1 <= length, got "
                f"2 * {T} + 1 = {2 * T + 1} > {L}; at most {(L - 1) // 2} fit"
            )
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """A data token at random."""
        return 1 / (self.vocab_size - 2)

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """Slices are length, data, and the gap from a query back to its token, plus one."""
        assert isinstance(segment, MADCopyingSegment)
        B, L, T = count, segment.length, segment.data
        M = L - T - 1
        data = torch.randint(self.vocab_size - 2, (B, T), generator=generator)
        places = sort_rows(choose_distinct(B, T, M, generator))  # (B, T)
        inputs = torch.full((B, L), self.vocab_size - 2)
        inputs.scatter_(1, places, data)
        inputs[:, M] = self.vocab_size - 1
        labels = torch.full((B, L), IGNORE)
        labels[:, M + 1 :] = data
        gap = torch.zeros(B, L, dtype=torch.int64)
        gap[:, M + 1 :] = rounding(torch.arange(M + 2, L + 1) - places)
        return Examples(inputs, labels, {"length": L, "data": T, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Each data token is a value of its own, and the place where it is asked its query."""
        assert isinstance(segment, MADCopyingSegment)
        blank, mark = self.vocab_size - 2, segment.length - segment.data - 1
        group, spans = 0, []
        for position in range(mark):
            if int(inputs[position]) == blank:
                spans.append(Span.token(position, "filler"))
            else:
                spans.append(Span.token(position, "value", group))
                group += 1
        asked = range(mark + 1, segment.length)
        return [
            *spans,
            Span.token(mark, "other", name="copy"),
            *(Span.token(position, "query", place) for place, position in enumerate(asked)),
        ]
