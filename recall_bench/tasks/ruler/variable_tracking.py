"""Variable tracking, RULER's multi-hop task at the level of tokens (2404.06654, section 3).

Chains of assignments lie in a haystack: the first assigns a value to a variable, each later one
assigns the variable before it to a new one. Then a value is given, and the model has to list every
variable that holds it, in the order of the chain. With one chain of two hops, the value v and
``set``, ``?`` for the marks:

    inputs   .  set x0 v  .  .  set x1 x0 .  set x2 x1 .  ?  v  x0 x1
    labels   -  -   -  -  -  -  -   -  -  -  -   -  -  -  -  x0 x1 x2

The statements of a chain stand in its order, as in RULER; other chains lie between them. With one
chain the order alone tells the variables; it takes two to ask for tracking.

RULER's models read their own list while they write it, so answers are fed back: each is one hop
from the one before. With ``feedback`` off the mark ``?`` stands where they would, and the variable
at hop j has to be found in j + 1 steps at once.

RULER has one chain of four hops, sentences that repeat as the haystack, five letters for a variable
(here one token of 1024) and five digits for a value (one token of 1024), and any order of the
answers counts. Lengths from 4096 on with 500 examples each; those in training are ours. One core
makes 100,000 rows of 512 tokens a second or more, but 15,000 to 140,000 of 4096.

Shapes: B rows, L length, C chains of J = hops + 1 statements, H tokens of haystack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import IGNORE, Examples, Segment, Span
from recall_bench.tasks.ruler.haystack import draw_lots, fill, lay, place
from recall_bench.tasks.tools.reach import ReachTask, Rounding
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

SET, ASK, FIRST = 0, 1, 2
"""The token before an assignment, that before the question, and the first variable."""
STATEMENT = 3
"""Tokens of an assignment: the mark, the variable, and what it is given."""


class TrackingSegment(Segment):
    """Examples of one length and set of chains."""

    chains: int = Field(ge=1, description="chains of assignments, one of which is asked for")
    hops: int = Field(ge=0, description="assignments of a chain after its first one")


Segments: TypeAlias = Annotated[
    tuple[TrackingSegment, ...], BeforeValidator(read_text(TrackingSegment)), Field(min_length=1)
]
TRAIN = segments_of(TrackingSegment, "512:1:4:20000")
VALIDATION = segments_of(TrackingSegment, "512:1:4:500")
TEST = segments_of(TrackingSegment, "512:1:4:500,1024:1:4:500,2048:1:4:500,4096:1:4:500")


@register_task("variable-tracking")
class VariableTracking(ReachTask):
    """Chains of assignments; the defaults are RULER's, at lengths of ours.

    Raises `ValueError` for a segment that cannot be built.
    """

    feedback: bool = Field(True, description="answers are inputs to those after them")
    haystack: Literal["repeat", "random"] = Field(
        "repeat", description="one sentence again and again, or random tokens"
    )
    variables: int = Field(1024, ge=2, le=1 << 20, description="variables there are")
    value_symbols: int = Field(1024, ge=1, le=1 << 20, description="values there are")
    filler_symbols: int = Field(1024, ge=1, le=1 << 20, description="tokens of the haystack")
    train: Segments = Field(TRAIN, description="length:chains:hops:examples,…")
    validation: Segments = Field(VALIDATION, description="length:chains:hops:examples,…")
    test: Segments = Field(TEST, description="length:chains:hops:examples,…")

    def misfit(self, segment: TrackingSegment) -> str | None:
        C, J = segment.chains, segment.hops + 1
        need = STATEMENT * C * J + 1 + J
        if need > segment.length:
            return (
                f"the chains do not fit. Expected {STATEMENT} * chains * (hops + 1) + hops + 2 <= "
                f"length, got {STATEMENT} * {C} * {J} + {J + 1} = {need} > {segment.length}"
            )
        if self.variables <= C * J:
            return (
                f"too few variables, one of which must be left to guess. Expected chains * "
                f"(hops + 1) < variables, got {C} * {J} = {C * J} >= {self.variables}"
            )
        if self.value_symbols < C:
            return f"expected chains <= value_symbols, got {C} > {self.value_symbols}"
        return None

    @property
    def tokens(self) -> int:
        return FIRST + self.variables + self.value_symbols + self.filler_symbols

    def chance(self, segment: Segment) -> float:
        """A variable at random."""
        return 1 / self.variables

    def guess(self, segment: Segment) -> float:
        """At most: all variables of the haystack but the one asked for may be ruled out."""
        assert isinstance(segment, TrackingSegment)
        return 1 / (self.variables - segment.chains * (segment.hops + 1) + 1)

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """Slices are length and chains, the hops from the value to the variable, and the gap.

        The gap is the distance from the label back to the last time that the variable asked for
        stands in the haystack, plus one. All variables are one answer.
        """
        assert isinstance(segment, TrackingSegment)
        B, L, C, J = count, segment.length, segment.chains, segment.hops + 1
        H, N = L - 1 - J, C * J
        names = FIRST + choose_distinct(B, N, self.variables, generator).view(B, C, J)
        first_value = FIRST + self.variables
        values = first_value + choose_distinct(B, C, self.value_symbols, generator)
        given = torch.cat([values[..., None], names[..., :-1]], 2)
        statements = torch.stack([torch.full_like(names, SET), names, given], 3)
        lots = draw_lots(B * C, J, generator)
        lots.numpy().sort(axis=1)  # a chain stands in its order
        starts = place(lots.view(B, N), STATEMENT, H)

        inputs = torch.empty(B, L, dtype=torch.int64)
        filler = range(first_value + self.value_symbols, self.tokens)
        fill(inputs[:, :H], filler, self.haystack == "repeat", generator)
        lay(statements.view(B, N, STATEMENT), starts, inputs)
        inputs[:, H] = ASK
        inputs[:, H + 1] = values[:, 0]  # chains are drawn alike, so the first is any
        inputs[:, H + 2 :] = names[:, 0, :-1] if self.feedback else ASK
        labels = torch.full((B, L), IGNORE)
        labels[:, H + 1 :] = names[:, 0]

        seen = starts.view(B, C, J)[:, 0] + 1  # (B, J) where a variable was set,
        seen[:, :-1] = seen[:, 1:] + 1  # or, later, where it was used
        gap = torch.zeros(B, L, dtype=torch.int64)
        gap[:, H + 1 :] = rounding(torch.arange(H + 2, L + 1) - seen)
        hops = torch.zeros(B, L, dtype=torch.int64)
        hops[:, H + 1 :] = torch.arange(J)
        return Examples(inputs, labels, {"length": L, "chains": C, "hops": hops, "gap": gap})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Assignments by chain: the value x, its variables x0, x1, …; the haystack is filler."""
        assert isinstance(segment, TrackingSegment)
        row, L = inputs.tolist(), segment.length
        end = L - 2 - segment.hops
        chain_of: dict[int, tuple[int, int]] = {}  # variable or value -> chain, hop
        spans, position = [], 0
        while position < end:
            if row[position] != SET:
                spans.append(Span.token(position, "filler"))
                position += 1
                continue
            chain, hop = chain_of.setdefault(row[position + 2], (len(chain_of), -1))
            if hop < 0:
                chain = sum(known < 0 for _, known in chain_of.values()) - 1
                chain_of[row[position + 2]] = (chain, hop)
            chain_of[row[position + 1]] = (chain, hop + 1)
            letter = "xyzuvw"[chain % 6]
            spans += [
                Span.token(position, "other", name="set"),
                Span.token(position + 1, "value", chain, name=f"{letter}{hop + 1}"),
                Span(
                    position + 2,
                    position + 3,
                    "key",
                    chain,
                    name=f"{letter}{hop}" if hop >= 0 else letter,
                ),
            ]
            position += STATEMENT
        chain, _ = chain_of[row[end + 1]]
        spans.append(Span.token(end, "other", name="ask"))
        return spans + [Span.token(position, "query", chain) for position in range(end + 1, L)]
