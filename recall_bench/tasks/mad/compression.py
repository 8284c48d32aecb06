"""MAD's compression (2403.17844).

Random tokens, closed by a mark. The model has to reconstruct the whole sequence from the hidden
vector of the mark alone: an autoencoder's decoder gets that vector together with the position that
is asked (``readout = "sequence"``). So every label stands at the token it asks for. With L=6 and
``=``:

    inputs   c  a  a  b  c  =
    labels   c  a  a  b  c  -

It probes how much of a sequence a layer gathers in one place. The released code asks for the mark
as well, which is the same in every row and lifts the accuracy by up to one in L.

Shapes: B rows, L length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.mad import setup
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of
from recall_bench.tasks.tools.slices import round_up

if TYPE_CHECKING:
    from torch import Generator, Tensor

Segments: TypeAlias = Annotated[
    tuple[Segment, ...], BeforeValidator(read_text(Segment)), Field(min_length=1)
]
BASELINE = {split: segments_of(Segment, text) for split, text in setup.splits("32").items()}
MAD_CHANGES: tuple[dict[str, Any], ...] = (
    *setup.vocabularies((32, 64, 128)),
    *(setup.splits(form) for form in ("64", "128", "256")),
    *setup.fewer("32"),
)
"""MAD's one-at-a-time changes of compression."""


@register_task("mad-compression")
class MADCompression(SegmentedTask):
    """MAD's compression; the defaults are its baseline.

    The last token of the vocabulary is the mark. Raises `ValueError` for a segment that cannot be
    built.
    """

    readout: ClassVar[Literal["token", "sequence"]] = "sequence"

    vocab_size: int = Field(16, ge=3, le=1 << 20, description="tokens; the last one is the mark")
    train: Segments = Field(BASELINE["train"], description="length:examples,…")
    validation: Segments = Field(BASELINE["validation"], description="length:examples,…")
    test: Segments = Field(BASELINE["test"], description="length:examples,…")

    def misfit(self, segment: Segment) -> str | None:
        if segment.length < 2:
            return f"a token and the mark must fit. Expected length >= 2, got {segment.length}"
        return None

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """A token at random."""
        return 1 / (self.vocab_size - 1)

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The tokens that the mark's window holds, and a guess for the others."""
        asked = segment.length - 1
        share = min(max(window - 1, 0), asked) / asked
        return share + (1 - share) * self.chance(segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows.

        Slices are the length and the gap: the distance from a token to the mark, plus one, rounded
        up to a power of two.
        """
        B, L = count, segment.length
        inputs = torch.randint(self.vocab_size - 1, (B, L), generator=generator)
        inputs[:, -1] = self.vocab_size - 1
        labels = inputs.clone()
        labels[:, -1] = IGNORE
        gap = round_up(torch.arange(L, 0, -1)).expand(B, L)
        return Examples(inputs, labels, {"length": L, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Every token is asked for; the mark is what it is read from."""
        end = segment.length - 1
        return [
            *(Span.token(position, "query", position) for position in range(end)),
            Span.token(end, "other", name="mark"),
        ]
