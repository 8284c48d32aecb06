"""Needles in a haystack, RULER's retrieval family at the level of tokens (2404.06654, section 3).

Needles, each a mark, a key and a value, lie in a long haystack. At the end some keys are asked for,
and the model has to give all tokens of their values, each after the ones before it; several values
of one key in the order of the haystack. With keys k, values of two digits, ``!`` and ``?`` for the
marks:

    inputs   .  !  k0 3  7  .  .  .  !  k1 9  1  .  .  ?  k1 9
    labels   -  -  -  -  -  -  -  -  -  -  -  -  -  -  -  9  1

The knobs are RULER's: ``keys``, ``values`` of each key, how many keys are asked for (``queries``),
of how many symbols and tokens a key and a value are, and what the haystack is: one sentence that
repeats, random tokens (for the essays, whose words are no needles), or needles throughout, with
keys that nobody asks for. ``depth`` is where the needles asked for stand, in percent.

RULER's eight tasks are `SETTINGS`: a word is one token of 1024, a number seven digits, a UUID 32
hexadecimal digits, and no key occurs twice. Its score is that of the whole value: exact match. Its
shortest length is 4096, with 500 examples a length; lengths in training are ours, as RULER trains
nothing. One core makes 100,000 rows of 512 tokens a second or more, but 10,000 to 40,000 of 4096: a
row is as many random numbers as it has tokens.

Shapes: B rows, L length, H tokens of haystack, N needles of S tokens, V tokens of a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, IGNORE, Examples, Segment, Span
from recall_bench.tasks.ruler.haystack import LOTS, draw_lots, fill, lay, place
from recall_bench.tasks.tools.reach import ReachTask, Rounding
from recall_bench.tasks.tools.sampling import choose_distinct
from recall_bench.tasks.tools.segments import read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

MARK, ASK, FIRST = 0, 1, 2
"""The token before a needle, that before a question, and the first symbol of keys."""
COUNTABLE = 40
"""Bits of a key that are told apart when keys are drawn without replacement."""


class NeedleSegment(Segment):
    """Examples of one length and set of needles."""

    keys: int = Field(ge=1, description="different keys in the haystack")
    values: int = Field(ge=1, description="needles, and so values, of each key")
    queries: int = Field(ge=1, description="keys that are asked for")
    depth: int = Field(
        ge=-1, le=100, description="percent of the haystack before what is asked; -1: anywhere"
    )


Segments: TypeAlias = Annotated[
    tuple[NeedleSegment, ...], BeforeValidator(read_text(NeedleSegment)), Field(min_length=1)
]

TRAIN_LENGTHS, TEST_LENGTHS = (512,), (512, 1024, 2048, 4096)


def _splits(needles: str) -> dict[str, str]:
    """The default lengths with ``needles``, the fields between length and examples."""
    return {
        split: ",".join(f"{length}:{needles}:-1:{examples}" for length in lengths)
        for split, lengths, examples in (
            ("train", TRAIN_LENGTHS, 20_000),
            ("validation", TRAIN_LENGTHS, 500),
            ("test", TEST_LENGTHS, 500),
        )
    }


BASELINE = {split: segments_of(NeedleSegment, text) for split, text in _splits("1:1:1").items()}
_UUID_VALUE = {"value_symbols": 16, "value_tokens": 32}
_UUID_KEY = {"key_symbols": 16, "key_tokens": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    "single-1": {"haystack": "repeat", **_splits("1:1:1")},
    "single-2": {"haystack": "random", **_splits("1:1:1")},
    "single-3": {"haystack": "random", **_UUID_VALUE, **_splits("1:1:1")},
    "multikey-1": {"haystack": "random", **_splits("4:1:1")},
    "multikey-2": {"haystack": "needles", **_splits("1:1:1")},
    "multikey-3": {"haystack": "needles", **_UUID_KEY, **_UUID_VALUE, **_splits("1:1:1")},
    "multivalue": {"haystack": "random", **_splits("1:4:1")},
    "multiquery": {"haystack": "random", **_splits("4:1:4")},
}
"""Options of RULER's eight retrieval tasks, by its names for them."""


@register_task("needle")
class Needle(ReachTask):
    """Keys and values in a haystack; the defaults are RULER's single-2 at lengths of ours.

    Raises `ValueError` for a segment that cannot be built.
    """

    haystack: Literal["repeat", "random", "needles"] = Field(
        "random", description="one sentence again and again, random tokens, or unasked needles"
    )
    key_symbols: int = Field(1024, ge=2, le=1 << 20, description="symbols that keys are made of")
    key_tokens: int = Field(1, ge=1, le=1024, description="symbols of a key")
    value_symbols: int = Field(10, ge=2, le=1 << 20, description="symbols that values are made of")
    value_tokens: int = Field(7, ge=1, le=1024, description="symbols of a value")
    filler_symbols: int = Field(1024, ge=1, le=1 << 20, description="tokens of the haystack")
    train: Segments = Field(
        BASELINE["train"], description="length:keys:values:queries:depth:examples,…"
    )
    validation: Segments = Field(
        BASELINE["validation"], description="length:keys:values:queries:depth:examples,…"
    )
    test: Segments = Field(
        BASELINE["test"], description="length:keys:values:queries:depth:examples,…"
    )

    def misfit(self, segment: NeedleSegment) -> str | None:
        S, Q = self._sizes(segment)
        planted, room = segment.keys * segment.values, segment.length + 1 - segment.queries * Q
        if segment.queries > segment.keys:
            return f"expected queries <= keys, got {segment.queries} > {segment.keys}"
        if planted * S > room:
            return (
                f"the needles do not fit. Expected keys * values * (1 + key_tokens + value_tokens) "
                f"<= length + 1 - queries * (1 + key_tokens + values * value_tokens), got "
                f"{segment.keys} * {segment.values} * {S} = {planted * S} > {segment.length + 1} "
                f"- {segment.queries} * {Q} = {room}; a length of "
                f"{segment.length + planted * S - room} is enough"
            )
        different = segment.keys + self._unasked(segment)
        if different > self.key_symbols**self.key_tokens:
            return (
                f"too few different keys. Expected at most key_symbols^key_tokens = "
                f"{self.key_symbols}^{self.key_tokens}, got {different}"
            )
        return None

    @property
    def tokens(self) -> int:
        return FIRST + self.key_symbols + self.value_symbols + self.filler_symbols

    def chance(self, segment: Segment) -> float:
        """A symbol of values at random."""
        return 1 / self.value_symbols

    def _sizes(self, segment: NeedleSegment) -> tuple[int, int]:
        """Tokens of a needle, and of a question with its answers."""
        S = 1 + self.key_tokens + self.value_tokens
        return S, S + (segment.values - 1) * self.value_tokens

    def _unasked(self, segment: NeedleSegment) -> int:
        """Needles that make up the haystack."""
        if self.haystack != "needles":
            return 0
        S, Q = self._sizes(segment)
        return (segment.length + 1 - segment.queries * Q) // S - segment.keys * segment.values

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """Slices are the segment's length, keys, values and queries; for every token asked for the
        depth of its needle in the haystack, in percent rounded down to tens, and the gap.

        The gap is the distance from the label back to the token asked for, plus one. Each value is
        an answer.
        """
        assert isinstance(segment, NeedleSegment)
        B, L, kt, V = count, segment.length, self.key_tokens, self.value_tokens
        asked_keys, values = segment.queries, segment.values
        S, Q = self._sizes(segment)
        H, planted = L + 1 - asked_keys * Q, segment.keys * values
        unasked = self._unasked(segment)
        N, asked = planted + unasked, asked_keys * values  # those asked for are the first ones

        keys = self._draw_keys(B, segment.keys + unasked, generator)  # (B, keys, kt)
        needles = torch.empty(B, N, S, dtype=torch.int64)
        needles[..., 0] = MARK
        needles[:, :planted, 1 : 1 + kt] = keys[:, : segment.keys].repeat_interleave(values, 1)
        needles[:, planted:, 1 : 1 + kt] = keys[:, segment.keys :]
        zero = FIRST + self.key_symbols
        needles[..., 1 + kt :] = torch.randint(
            zero, zero + self.value_symbols, (B, N, V), generator=generator
        )
        lots = draw_lots(B, N, generator)
        if segment.depth >= 0:
            lots[:, :asked] = ((1 << LOTS) - 1) * segment.depth // 100
        starts = place(lots, S, H)
        row = torch.empty(B, L + 1, dtype=torch.int64)
        filler = range(zero + self.value_symbols, self.tokens)
        fill(row[:, :H], filler, self.haystack == "repeat", generator)
        lay(needles, starts, row)

        stands = starts[:, :asked].view(B, asked_keys, values)
        order = stands.argsort(2)
        stands = stands.gather(2, order)
        order = (order + values * torch.arange(asked_keys)[:, None]).view(B, asked)
        answers = needles[..., 1 + kt :].gather(1, order[..., None].expand(-1, -1, V))
        questions = row[:, H:].view(B, asked_keys, Q)
        questions[..., 0] = ASK
        questions[..., 1 : 1 + kt] = keys[:, :asked_keys]
        questions[..., 1 + kt :] = answers.view(B, asked_keys, values * V)

        # Answers begin 1 + kt tokens into their question, and labels stand one token before them.
        position = kt + torch.arange(values * V).view(values, V)
        position = (
            H + position + Q * torch.arange(asked_keys)[:, None, None]
        )  # (asked_keys, values, V)
        gap = rounding(position + 1 - (stands[..., None] + 1 + kt + torch.arange(V)))
        depth = (stands * 10 // H * 10)[..., None].expand(gap.shape)
        answer = torch.arange(asked).repeat_interleave(V).expand(B, -1)

        def at_labels(values: Tensor, elsewhere: int = 0) -> Tensor:
            """(B, L) from one value for each token asked for."""
            tail = torch.full((B, L - H), elsewhere)
            tail[:, position.flatten() - H] = values.flatten(1)
            return torch.nn.functional.pad(tail, (H, 0), value=elsewhere)

        slices: dict[str, int | Tensor] = {
            "length": L,
            "keys": segment.keys,
            "values": values,
            "queries": asked_keys,
            "depth": at_labels(depth),
            "gap": at_labels(gap),
            ANSWER: at_labels(answer),
        }
        return Examples(row[:, :L], at_labels(answers, IGNORE), slices)

    def _draw_keys(self, rows: int, count: int, generator: Generator) -> Tensor:
        """Keys that differ in a row, (rows, count, key_tokens) tokens.

        They differ in their first tokens already where there are more than `COUNTABLE` bits.
        """
        base, head = self.key_symbols, 1
        while head < self.key_tokens and base ** (head + 1) <= 1 << COUNTABLE:
            head += 1
        code = choose_distinct(rows, count, base**head, generator)
        digits = [code // base**digit % base for digit in range(head)]
        if head < self.key_tokens:
            rest = (rows, count, self.key_tokens - head)
            digits += torch.randint(base, rest, generator=generator).unbind(2)
        return FIRST + torch.stack(digits, 2)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Needles and questions, grouped by key; the haystack is filler."""
        assert isinstance(segment, NeedleSegment)
        row, kt, V = inputs.tolist(), self.key_tokens, self.value_tokens
        L, position = segment.length, 0
        group_of: dict[tuple[int, ...], int] = {}
        spans = []
        while position < L:
            if row[position] not in (MARK, ASK):
                spans.append(Span.token(position, "filler"))
                position += 1
                continue
            asks = row[position] == ASK
            end = min(position + 1 + kt + V * (segment.values if asks else 1), L)
            group = group_of.setdefault(tuple(row[position + 1 : position + 1 + kt]), len(group_of))
            spans.append(Span.token(position, "other", name="ask" if asks else "mark"))
            spans.append(Span(position + 1, position + 1 + kt, "query" if asks else "key", group))
            if position + 1 + kt < end:
                spans.append(Span(position + 1 + kt, end, "value", group))
            position = end
        return spans
