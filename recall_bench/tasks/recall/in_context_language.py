"""In-context languages: RegBench, 2401.12973, section 3.

Every example has a random automaton of its own. Strings from its language, random walks that all
begin in the same state, are joined by a separator, and every next symbol is asked for. With three
strings, where ``|`` is the separator and ``-`` is not asked:

    inputs   a  c  b  |  a  c  d  |  a  e  b
    labels   c  b  -  a  c  d  -  a  e  b  -

It probes whether a model infers a language from samples of it: which symbols may follow depends on
the state, which only the string so far tells. The walk chooses uniformly, so that next symbols are
random: where a state allows m symbols, whoever knows the automaton is right once in m times. The
ceiling is the mean of 1/m, which no model reaches that has to infer the automaton first. Accuracy
over the ceiling is the share of predictions that the language allows, RegBench's accuracy, each
weighed by 1/m; the slices say m, and how many strings a model has seen.

Sizes are those of the authors' code: 4 to 12 states, an alphabet of 4 to 18 symbols, 1 to 3 symbols
a state that lead to as many other states, 10 to 19 strings of 1 to 49 symbols. That code minimises
automata, which changes no walk. Sequences end after 512 tokens, as in zoology's copy of it: 7.7% of
them, one in thirteen, are longer and cut. Of its own labels the last, before a separator, are left
out, as there.

On one core 25,000 examples a second are made, 420 MB with their slices: walks of up to 19 * 49
steps, one step after the other, for 360 tokens that are kept.

Shapes: B rows, L length, K states, D branches, S strings, T symbols a string.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, BLOCK, EACH_TOKEN, IGNORE, Examples, Segment, Span
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

SAMPLE = 4096
"""Examples over which the ceiling is counted: its standard error is below 0.002."""


class LanguageSegment(Segment):
    """Examples of one length and range of numbers of strings."""

    fewest: int = Field(ge=2, description="strings of an example, at least")
    most: int = Field(ge=2, description="strings of an example, at most")


Segments: TypeAlias = Annotated[
    tuple[LanguageSegment, ...],
    BeforeValidator(read_text(LanguageSegment)),
    Field(min_length=1, description="length:fewest:most:examples,…"),
]
"""Segments, also read from text: ``length:fewest:most:examples`` joined by commas."""

TRAIN = segments_of(LanguageSegment, "512:10:19:5000")
TEST = segments_of(LanguageSegment, "512:10:19:500")


@register_task("in-context-language")
class InContextLanguage(SegmentedTask):
    """The next symbol of a language shown by samples; the defaults are RegBench's (2401.12973).

    Symbols are 0 to V-1; V separates strings and V+1 fills the sequence after them. Numbers of
    states, symbols, branches and strings, and lengths of strings, are uniform over their ranges.
    Raises `ValueError` for what cannot be built.
    """

    symbols: int = Field(18, ge=1, le=255, description="symbols there are: the largest alphabet")
    fewest_symbols: int = Field(4, ge=1, description="symbols of the smallest alphabet")
    states: int = Field(12, ge=2, le=255, description="states of the largest automaton")
    fewest_states: int = Field(4, ge=2, description="states of the smallest automaton")
    branches: int = Field(3, ge=1, le=6, description="symbols that a state allows, at most")
    string: int = Field(49, ge=1, description="symbols of the longest string")
    train: Segments = TRAIN
    validation: Segments = TEST
    test: Segments = TEST

    @model_validator(mode="after")
    def _check_sizes(self) -> InContextLanguage:
        for what, least, most in (
            ("symbols", self.fewest_symbols, self.symbols),
            ("states", self.fewest_states, self.states),
        ):
            if least > most:
                raise ValueError(
                    f"the range of numbers of {what} is empty. Expected fewest_{what} <= "
                    f"{what}, got {least} > {most}"
                )
        if self.branches > self.fewest_symbols:
            raise ValueError(
                f"the symbols that a state allows are distinct. Expected branches <= "
                f"fewest_symbols, got {self.branches} > {self.fewest_symbols}"
            )
        if self.branches > self.fewest_states - 1:
            raise ValueError(
                f"the symbols of a state lead to distinct other states. Expected branches <= "
                f"fewest_states - 1, got {self.branches} > {self.fewest_states} - 1"
            )
        return self

    def misfit(self, segment: LanguageSegment) -> str | None:
        if segment.fewest > segment.most:
            return (
                f"the range of numbers of strings is empty. Expected fewest <= most, got "
                f"{segment.fewest} > {segment.most}"
            )
        if segment.length < 2:
            return f"no position can be asked. Expected length >= 2, got {segment.length}"
        return None

    @property
    def tokens(self) -> int:
        return self.symbols + 2

    def chance(self, segment: Segment) -> float:
        """Any symbol."""
        return 1 / self.symbols

    def hint(self, segment: Segment) -> float:
        """The symbol at a query belongs to the alphabet, so that it is likelier to follow."""
        alphabets = range(self.fewest_symbols, self.symbols + 1)
        return sum(1 / size for size in alphabets) / len(alphabets)

    def ceiling(self, segment: Segment) -> float:
        """What the automaton itself can predict: the mean of one over the symbols allowed.

        It is counted over `SAMPLE` examples of a fixed seed, so equal calls give equal numbers.
        """
        assert isinstance(segment, LanguageSegment)
        return _ceiling(self, segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows of a segment.

        Slices are the segment's numbers of strings and its length, how many symbols the language
        allows at a query (``branching``), and the number of its string, from 1 (``seen``).
        """
        assert isinstance(segment, LanguageSegment)
        B, L, S = count, segment.length, segment.most
        symbols, targets, degree = self.automata(B, generator)
        strings = torch.randint(segment.fewest, S + 1, (B, 1), generator=generator)
        sizes = torch.randint(1, self.string + 1, (B, S), generator=generator)
        walks = self._walks(targets, degree, S, generator)  # (T, B * S)

        # Where each of the first L + 1 tokens comes from: a string, and a step of its walk.
        ends = (sizes + 1).cumsum(1) - 1  # (B, S): the separator after each string
        separator = torch.zeros(B, L + 2, dtype=torch.int64)
        separator = separator.scatter_(1, ends.clamp(max=L + 1), 1)[:, :-1]  # (B, L + 1)
        string = (separator.cumsum(1) - separator).clamp(max=S - 1)
        step = torch.arange(L + 1) - (ends - sizes).gather(1, string)
        walk = torch.arange(B)[:, None] * S + string
        edge = walks.take(step.clamp(max=self.string - 1) * (B * S) + walk)  # (B, L + 1)

        end = ends.gather(1, strings - 1)  # the last string has no separator
        here = torch.arange(L + 1) < end
        tokens = symbols.take(edge).where(separator == 0, self.symbols)
        tokens = tokens.where(here, self.symbols + 1)
        asked = (here & (separator == 0))[:, 1:]  # a symbol comes next
        branching = degree.take(edge // self.branches)
        slices: dict[str, int | Tensor] = {
            "fewest": segment.fewest,
            "most": S,
            "length": L,
            "branching": branching[:, 1:] * asked,
            "seen": (string[:, 1:] + 1) * asked,
            ANSWER: EACH_TOKEN,
        }
        labels = tokens[:, 1:].where(asked, IGNORE)
        return Examples(tokens[:, :-1].contiguous(), labels, slices)

    def automata(self, count: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random automata: (B, K, D) symbols and targets of states, of which (B, K) degree count.

        State 0 is where strings begin. A state's symbols are distinct, and so are its targets, none
        of which is the state itself.
        """
        B, K, D = count, self.states, self.branches
        states = torch.randint(self.fewest_states, K + 1, (B, 1), generator=generator)
        sizes = torch.randint(self.fewest_symbols, self.symbols + 1, (B, 1), generator=generator)
        alphabet = choose_distinct(B, self.symbols, self.symbols, generator)  # (B, V)
        degree = torch.randint(1, D + 1, (B, K), generator=generator)
        chosen = _distinct(sizes.expand(B, K), D, generator)
        symbols = alphabet.gather(1, chosen.flatten(1)).view(B, K, D)
        targets = _distinct((states - 1).expand(B, K), D, generator)
        return symbols, targets + (targets >= torch.arange(K)[:, None]), degree

    def _walks(self, targets: Tensor, degree: Tensor, strings: int, generator: Generator) -> Tensor:
        """Random walks from state 0: (T, B * strings) edges, as indices into (B, K, D).

        All walks take a step at a time, each a look into a table with a column for every side of a
        die, whose number of sides divides by every degree. The digits of a number below one, to the
        base of its sides, are its rolls, as long as 20 of 53 bits are left.
        """
        B, K, D = targets.shape
        sides = math.lcm(*range(1, D + 1))
        rolls = int(33 / max(math.log2(sides), 1))
        first = torch.arange(B * K).view(B, K, 1) * D  # a state's first edge
        edges = first + torch.arange(sides) % degree[:, :, None]  # (B, K, sides)
        target = (torch.arange(B)[:, None, None] * K + targets).flatten() * sides  # by edge
        position = (torch.arange(B) * K * sides).repeat_interleave(strings)  # (B * strings,)
        walks = torch.empty(self.string, B * strings, dtype=torch.int64)
        for step in range(self.string):
            if step % rolls == 0:
                die = torch.rand(B * strings, dtype=torch.float64, generator=generator)
            die *= sides
            roll = die.long()
            die -= roll
            walks[step] = edges.take(position + roll)
            position = target.take(walks[step])
        return walks

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Strings, numbered, and separators."""
        spans, string = [], 0
        for position, token in enumerate(inputs.tolist()):
            if token < self.symbols:
                spans.append(Span.token(position, "query", string))
            elif token == self.symbols:
                spans.append(Span.token(position, "other", name="|"))
                string += 1
            else:
                spans.append(Span.token(position, "filler"))
        return spans


def _distinct(sizes: Tensor, count: int, generator: Generator) -> Tensor:
    """Uniform ordered draws without replacement of ``count`` numbers below each of ``sizes``.

    int64 (…) -> (…, count); every size is at least ``count``.
    """
    drawn: list[Tensor] = []
    taken: list[Tensor] = []  # the same in rising order
    for index in range(count):
        lot = torch.rand(sizes.shape, dtype=torch.float64, generator=generator)
        number = (lot * (sizes - index)).long()
        for earlier in taken:
            number = number + (number >= earlier)
        drawn.append(number)
        taken = list(torch.stack([*taken, number], -1).sort(-1).values.unbind(-1))
    return torch.stack(drawn, -1)


@lru_cache(maxsize=64)
def _ceiling(task: InContextLanguage, segment: LanguageSegment) -> float:
    """The mean over examples of the mean of 1 / branching over an example's labels."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    for _ in range(SAMPLE // BLOCK):
        made = task.examples(segment, generator, BLOCK)
        branching, asked = made.slices["branching"], made.labels != IGNORE
        assert isinstance(branching, torch.Tensor)
        share = (asked / branching.clamp(min=1)).sum(1) / asked.sum(1)
        total += float(share.double().sum())
    return total / SAMPLE
