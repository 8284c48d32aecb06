"""MAD's memorization (2403.17844).

Keys, each followed by a mark where the value of the key is asked for. The map from keys to values
is the same in every row, split and seed, and no input ever shows a value: the model has to learn
them into its weights. With keys a b c, values 1 2 3, the map a1 b3 c2 and ``=`` for the mark:

    inputs   b  =  a  =  c  =  b  =
    labels   -  3  -  1  -  2  -  3

It is the only task of the suite that tests parameters instead of memory of the sequence.

A key that no training example had can only be guessed, and MAD trains on 256 examples of 16 keys at
every size of the vocabulary: `ceiling` is 1 to three digits up to 1024 tokens, .983 at 2048, .865
at 4096 and .632 at 8192, so that MAD's mean over its settings cannot exceed .913.

The map pairs keys with different values, as the released code does, which draws it from the run's
seed; here it has a seed of its own.

Shapes: B rows, N keys a row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, EACH_TOKEN, IGNORE, Examples, Segment, Span
from recall_bench.tasks.mad import setup
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

Segments: TypeAlias = Annotated[
    tuple[Segment, ...], BeforeValidator(read_text(Segment)), Field(min_length=1)
]
BASELINE = {
    split: segments_of(Segment, text) for split, text in setup.splits("32", train=256).items()
}
MAD_CHANGES: tuple[dict[str, Any], ...] = setup.vocabularies((512, 1024, 2048, 4096, 8192))
"""MAD's one-at-a-time changes of memorization."""


@register_task("mad-memorization")
class MADMemorization(SegmentedTask):
    """MAD's memorization; the defaults are its baseline.

    The last token of the vocabulary is the mark; the first half of the others are keys, the second
    half values. Raises `ValueError` for a segment that cannot be built.
    """

    vocab_size: int = Field(256, ge=5, le=1 << 20, description="tokens: keys, values, the mark")
    map_seed: int = Field(0, ge=0, lt=1 << 63, description="seed of the map, whatever the run's")
    train: Segments = Field(BASELINE["train"], description="length:examples,…")
    validation: Segments = Field(BASELINE["validation"], description="length:examples,…")
    test: Segments = Field(BASELINE["test"], description="length:examples,…")

    def misfit(self, segment: Segment) -> str | None:
        L = segment.length
        if L % 2:
            return f"every key has its mark. Expected an even length, got {L}; {L + 1} is nearest"
        return None

    def alphabets(self) -> tuple[int, int]:
        """How many keys and values there are."""
        return (self.vocab_size - 1) // 2, self.vocab_size - 1 - (self.vocab_size - 1) // 2

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def chance(self, segment: Segment) -> float:
        """The value of a key at random."""
        return 1 / self.alphabets()[0]

    def ceiling(self, segment: Segment) -> float:
        """Every key that training showed, and a guess among the values left for the others.

        Of n keys each is missing with probability q^m after m draws, q = 1 - 1/n. With U missing,
        a query is for one of them with probability U/n and a guess among the U + s values left is
        right with 1/(U + s); s values have no key. U is put at its mean.
        """
        n, values = self.alphabets()
        draws = sum(part.examples * (part.length // 2) for part in self.train)
        missing = (1 - 1 / n) ** draws  # of a key
        left = n * missing
        return 1 - missing + (missing / (left + values - n) if values > n else min(left, 1) / n)

    def window_ceiling(self, segment: Segment, window: int) -> float:
        """The key stands right before its mark."""
        return self.ceiling(segment) if window >= 2 else self.chance(segment)

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows; the slice is the length."""
        n, values = self.alphabets()
        keys = torch.randint(n, (count, segment.length // 2), generator=generator)  # (B, N)
        mark = torch.full_like(keys, self.vocab_size - 1)
        answers = _fixed_map(n, values, self.map_seed)[keys]
        inputs = torch.stack([keys, mark], 2).flatten(1)
        labels = torch.stack([torch.full_like(keys, IGNORE), answers], 2).flatten(1)
        return Examples(inputs, labels, {"length": segment.length, ANSWER: EACH_TOKEN})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Keys, and their marks as queries, grouped by key."""
        group_of: dict[int, int] = {}
        spans = []
        for position in range(0, segment.length, 2):
            group = group_of.setdefault(int(inputs[position]), len(group_of))
            spans += [
                Span.token(position, "key", group),
                Span.token(position + 1, "query", group),
            ]
        return spans


@lru_cache(maxsize=8)
def _fixed_map(keys: int, values: int, seed: int) -> Tensor:
    """(keys,) the value of each key: different ones, from ``keys`` to keys + values - 1."""
    with torch.device("cpu"):
        generator = torch.Generator().manual_seed(seed)
        return keys + torch.randperm(values, generator=generator)[:keys]
