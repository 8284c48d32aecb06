"""Language modelling on plain text, with Zoology's slice of associative recall (2312.04927).

Every token is asked, so that the loss is that of a language model. The slice ``recall`` is 1 for
tokens that complete a bigram seen earlier in the row and at most ``rare`` times in the training
text, which only the context can tell, and 0 for all others: the record has the loss of both, and
its exponential is the perplexity. Zoology's 1,250 times belong to the Pile; take less for less
text. The slice ``repeated`` is 1 for every bigram seen earlier in the row, however common.

    inputs   x0 x1 x2 x3 …      rows are consecutive windows of the text
    labels   x1 x2 x3 x4 …
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recall_bench.documents import plain
from recall_bench.documents.cache import cached
from recall_bench.documents.packing import Tokens, bigram_counts, repeated, windows
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import Files, whereabouts
from recall_bench.documents.tokens import Codec, Tokenizer, codec_size, make_codec
from recall_bench.errors import UserError
from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import BLOCK, SPLITS, Examples, Segment, Span, Split, block_seed
from recall_bench.tasks.text.data_task import DataTask

if TYPE_CHECKING:
    from torch import Tensor


@register_task("text")
class PlainText(DataTask):
    """Language modelling on plain text, with a separate perplexity for recall from the context."""

    data: str | None = Field(
        None, description="a text file, or a directory of them; a run is named after their content"
    )
    length: int = Field(512, ge=8, le=65536, description="tokens of a row")
    tokenizer: Tokenizer = Field("bpe", description="byte pairs learnt from the training split")
    vocab_size: int = Field(8192, ge=257, le=1_000_000, description="tokens of byte pairs")
    rare: int = Field(
        1250, ge=0, description="a bigram counts as recall up to this count in training"
    )

    @classmethod
    def find(cls, path: Path) -> Files:
        return plain.find(path)

    @property
    def tokens(self) -> int:
        return codec_size(self.tokenizer, self.vocab_size)

    def codec(self) -> Codec:
        return _prepared(self).codec

    def report(self) -> LoadReport:
        return _prepared(self).report

    def segments(self, split: Split) -> tuple[Segment, ...]:
        """The windows of a split; those of training begin up to a window later, by the seed."""
        there = (len(_prepared(self).tokens[split]) - 1) // self.length - (split == "train")
        if there < 1:
            raise UserError(
                f"The {split} text is too short: {len(_prepared(self).tokens[split])} tokens, "
                f"windows have {self.length}. Expected more text or a smaller --length."
            )
        return (Segment(length=self.length, examples=there),)

    def chance(self, segment: Segment) -> float:
        """The share of the training text's commonest token in the test text."""
        share = float((_prepared(self).tokens["test"] == _prepared(self).commonest).mean())
        least = 1 / self.tokens
        return min(max(share, least), 1 - least)

    def block(self, split: Split, index: int, seed: int, block: int) -> Examples:
        """The windows of a split in an order drawn from the seed, each once."""
        mine, L = _prepared(self), self.length
        draw = np.random.default_rng(block_seed(seed, split, index, 0))
        first = int(draw.integers(L)) if split == "train" else 0
        rows = windows(mine.tokens[split][first:], L)[: self.segments(split)[index].examples]
        chosen = draw.permutation(len(rows))[BLOCK * block : BLOCK * (block + 1)]
        rows = rows[chosen]  # (B, L + 1)
        again = repeated(rows)
        recall = again & (bigram_counts(rows, mine.tokens["train"]) <= self.rare)
        return Examples(
            torch.from_numpy(rows[:, :-1].astype(np.int64)),
            torch.from_numpy(rows[:, 1:].astype(np.int64)),
            {name: _numbers(flags) for name, flags in (("recall", recall), ("repeated", again))},
        )

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Every token is asked."""
        return [Span(0, segment.length, "query", name="text")]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The splits of a text in tokens."""

    codec: Codec
    tokens: dict[Split, Tokens]
    commonest: int
    report: LoadReport


@lru_cache(maxsize=4)
def _prepared(task: PlainText) -> _Prepared:
    """The text of a task in tokens. Raises `UserError` where the data are missing."""
    fingerprint = str(task.data)
    loaded = f"text {plain.LOADER} {fingerprint}"
    text = plain.SplitText.unpack(
        cached(
            "corpora",
            loaded,
            ".json",
            lambda: plain.load(whereabouts(fingerprint, plain.find)).pack(),
        )
    )
    lines = text.train.splitlines(keepends=True)
    codec, name = make_codec(task.tokenizer, task.vocab_size, loaded, lines)
    tokens: dict[Split, Tokens] = {}
    for split in SPLITS:
        encode = partial(_encode, codec, text, split)
        packed = cached("tokens", f"{loaded} {name} {split}", ".bin", encode)
        tokens[split] = np.frombuffer(packed, np.int32)
    train = tokens["train"]
    commonest = int(np.bincount(train).argmax()) if len(train) else 0
    for split in SPLITS:
        text.report.count(f"tokens to {split}", len(tokens[split]))
    return _Prepared(codec, tokens, commonest, text.report)


def _encode(codec: Codec, text: plain.SplitText, split: Split) -> bytes:
    """The tokens of a split, int32."""
    lines = getattr(text, split).splitlines(keepends=True)
    return np.array([token for line in lines for token in codec.encode(line)], np.int32).tobytes()


def _numbers(flags: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(flags.astype(np.int64))
