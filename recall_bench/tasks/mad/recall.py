"""MAD's in-context recall, plain and among noise (2403.17844).

A stream of key-value pairs. Keys are drawn with replacement, and the map from keys to values is
drawn anew for every row; wherever a key returns, its value is asked for. Unlike in MQAR the stream
goes on with the answer, and nothing announces a query. With keys a b c, values 1 2 and L=12, where
``-`` is not asked and ``~`` is noise:

    plain   inputs   a 2 c 1 a 2 b 2 c 1 a 2      noisy   a 2 ~ ~ c 1 ~ ~ a 2 c 1
            labels   - - - - 2 - - - 1 - 2 -              - - - - - - - - 2 - 1 -

Plain recall probes how many pairs are kept and found again; noise comes from a vocabulary of its
own, in place of whole pairs, and must be learned to be ignored.

The last pair repeats a key that is among those before it, so that every row asks something. Noise
spares one slot of each row for the same reason. As in the released code, except that its inputs end
with the last key and so are L - 1 tokens long; ours keep the last value, which nothing asks about.

Shapes: B rows, K = L / 2 slots for pairs, n keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import ANSWER, EACH_TOKEN, IGNORE, Examples, Segment, Span
from recall_bench.tasks.mad import setup
from recall_bench.tasks.tools.previous import previous
from recall_bench.tasks.tools.reach import ReachTask, Rounding
from recall_bench.tasks.tools.segments import read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

Segments: TypeAlias = Annotated[
    tuple[Segment, ...], BeforeValidator(read_text(Segment)), Field(min_length=1)
]
BASELINE = {split: segments_of(Segment, text) for split, text in setup.splits("128").items()}

MAD_CHANGES: tuple[dict[str, Any], ...] = (
    *setup.vocabularies((32, 64, 128)),
    *(setup.splits(form) for form in ("256", "512", "1024")),
    *setup.fewer("128"),
)
"""MAD's one-at-a-time changes of in-context recall."""


class _Recall(ReachTask):
    """Common base of plain and noisy recall: the vocabulary is keys, then values, then noise."""

    vocab_size: int

    @property
    def tokens(self) -> int:
        return self.vocab_size

    def alphabets(self) -> tuple[int, int, int]:
        """How many keys, values and noise tokens there are."""
        return self.vocab_size // 2, self.vocab_size - self.vocab_size // 2, 0

    def noise_of(self, segment: Segment) -> float:
        """The share of noise in a segment."""
        return 0.0

    def misfit(self, segment: Segment) -> str | None:
        if segment.length % 2 or segment.length < 4:
            L = segment.length
            return (
                f"pairs must fill the length, and a key must be able to return. Expected an even "
                f"length >= 4, got {L}; {max(L + L % 2, 4)} is the nearest"
            )
        return None

    def chance(self, segment: Segment) -> float:
        """A value at random."""
        return 1 / self.alphabets()[1]

    def draw(
        self, segment: Segment, generator: Generator, count: int, rounding: Rounding
    ) -> Examples:
        """Slices are the length, the noise in percent, and the gap back to the nearest showing."""
        (n, values, noise), share = self.alphabets(), self.noise_of(segment)
        B, K = count, segment.length // 2
        keys = torch.randint(n, (B, K), generator=generator)
        value_of = n + torch.randint(values, (B, n), generator=generator)  # the row's map
        quiet = torch.zeros(B, K, dtype=torch.bool)  # slots of noise
        if share:
            quiet = torch.rand(B, K, generator=generator) < share
            spared = torch.randint(K - 1, (B, 1), generator=generator)
            quiet.scatter_(1, spared, False)
            quiet[:, -1] = False
            keys[quiet] = n  # stands for noise and is no key
        keys[:, -1] = self._returning(keys[:, :-1], n, generator)

        before, seen = previous(keys)  # (B, K): where a key was last
        asked = seen & ~quiet
        answers = value_of.gather(1, keys.clamp(max=n - 1))
        pairs = torch.stack([keys, answers], 2)  # (B, K, 2)
        if share:
            pairs[quiet] = n + values + torch.randint(noise, (B, K, 2), generator=generator)[quiet]
        labels = torch.full((B, K, 2), IGNORE)
        labels[..., 0] = torch.where(asked, answers, IGNORE)
        gap = torch.zeros(B, K, 2, dtype=torch.int64)
        gap[..., 0] = rounding(2 * (torch.arange(K) - before))
        slices: dict[str, int | Tensor] = {"length": segment.length, "gap": gap.flatten(1)}
        slices[ANSWER] = EACH_TOKEN
        if noise:
            slices["noise"] = round(100 * share)
        return Examples(pairs.flatten(1), labels.flatten(1), slices)

    def _returning(self, keys: Tensor, n: int, generator: Generator) -> Tensor:
        """(B,) one of the distinct keys (< n) of each row of (B, slots), uniformly."""
        present = torch.zeros(len(keys), n + 1, dtype=torch.int64).scatter_(1, keys, 1)[:, :n]
        rank = present.cumsum(1)  # of a key among those present, from 1
        chosen = torch.rand(len(keys), 1, generator=generator, dtype=torch.float64)
        wanted = 1 + (chosen * rank[:, -1:]).long()
        return ((rank == wanted) & present.bool()).int().argmax(1)

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Pairs grouped by key; a key that returns is a query, and what follows its answer."""
        n, values, _ = self.alphabets()
        group_of: dict[int, int] = {}
        spans = []
        for position in range(0, segment.length, 2):
            key = int(inputs[position])
            if key >= n + values:
                spans.append(Span(position, position + 2, "filler"))
                continue
            group = group_of.setdefault(key, len(group_of))
            asked = int(labels[position]) != IGNORE
            spans.append(Span.token(position, "query" if asked else "key", group))
            spans.append(Span.token(position + 1, "value", group))
        return spans


@register_task("mad-in-context-recall")
class MADInContextRecall(_Recall):
    """MAD's in-context recall; the defaults are its baseline.

    Keys are the first half of the vocabulary, values the second. Raises `ValueError` for a segment
    that cannot be built.
    """

    vocab_size: int = Field(16, ge=3, le=1 << 20, description="tokens; half keys, half values")
    train: Segments = Field(BASELINE["train"], description="length:examples,…")
    validation: Segments = Field(BASELINE["validation"], description="length:examples,…")
    test: Segments = Field(BASELINE["test"], description="length:examples,…")


class NoisySegment(Segment):
    """Examples of one length and share of noise."""

    noise: float = Field(ge=0, lt=1, description="share of pairs replaced by noise")


NoisySegments: TypeAlias = Annotated[
    tuple[NoisySegment, ...], BeforeValidator(read_text(NoisySegment)), Field(min_length=1)
]
NOISY_BASELINE = {
    split: segments_of(NoisySegment, text) for split, text in setup.splits("128:0.2").items()
}
MAD_NOISY_CHANGES: tuple[dict[str, Any], ...] = (
    *setup.vocabularies((48, 80, 144)),  # the noise has 16 of them
    *(setup.splits(form) for form in ("256:0.2", "512:0.2", "1024:0.2")),
    *setup.fewer("128:0.2"),
    *(setup.splits(form) for form in ("128:0.4", "128:0.6", "128:0.8")),
)
"""MAD's one-at-a-time changes of noisy recall."""


@register_task("mad-noisy-recall")
class MADNoisyRecall(_Recall):
    """MAD's noisy in-context recall; the defaults are its baseline.

    ``noise_tokens`` of the vocabulary are noise, the rest half keys, half values. Raises
    `ValueError` for a segment or vocabulary that cannot be built.
    """

    vocab_size: int = Field(32, ge=4, le=1 << 20, description="tokens: keys, values and noise")
    noise_tokens: int = Field(16, ge=1, description="tokens that are noise")
    train: NoisySegments = Field(NOISY_BASELINE["train"], description="length:noise:examples,…")
    validation: NoisySegments = Field(
        NOISY_BASELINE["validation"], description="length:noise:examples,…"
    )
    test: NoisySegments = Field(NOISY_BASELINE["test"], description="length:noise:examples,…")

    @model_validator(mode="after")
    def _check_that_keys_are_left(self) -> MADNoisyRecall:
        if self.noise_tokens + 3 > self.vocab_size:
            raise ValueError(
                f"the noise leaves less than a key and two values. Expected noise_tokens + 3 <= "
                f"vocab_size, got {self.noise_tokens} + 3 = {self.noise_tokens + 3} > "
                f"{self.vocab_size}; at most {self.vocab_size - 3} noise_tokens fit"
            )
        return self

    def alphabets(self) -> tuple[int, int, int]:
        kept = self.vocab_size - self.noise_tokens
        return kept // 2, kept - kept // 2, self.noise_tokens

    def noise_of(self, segment: Segment) -> float:
        assert isinstance(segment, NoisySegment)
        return segment.noise
