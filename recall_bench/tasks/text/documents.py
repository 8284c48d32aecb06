"""Questions about generated documents: product pages, device filings, staff directories.

In the style of SWDE and FDA, the recall tasks of Based (2402.18668), and of a phonebook, with
nothing to download: see `recall_bench.documents.generated`. Rows are those of the tasks that read
documents (`recall_bench.tasks.text.questions`): document, ". ", label, ":", answer. A document that
is too long is cut to a part that holds the answer, anywhere in it.

Text is written in Python, one document at a time: 3,000 rows a second of 512 bytes on one core,
not the 100,000 of tasks that are drawn as numbers.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

import numpy as np
from pydantic import BeforeValidator, Field

from recall_bench.documents.generated import KINDS, VERSION, Generated, Kind, generate_document
from recall_bench.documents.packing import prompt_row, window
from recall_bench.documents.report import LoadReport
from recall_bench.documents.tokens import Codec, Tokenizer, codec_size, make_codec
from recall_bench.lazy import torch
from recall_bench.registry import register_task
from recall_bench.tasks.base import BLOCK, IGNORE, Examples, Segment, Span, Split, block_seed
from recall_bench.tasks.text.questions import prompt_spans
from recall_bench.tasks.tools.segments import SegmentedTask, read_text, segments_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

Segments: TypeAlias = Annotated[
    tuple[Segment, ...], BeforeValidator(read_text(Segment)), Field(min_length=1)
]
"""Segments, also read from text: ``length:examples`` joined by commas."""

Kinds: TypeAlias = Annotated[
    tuple[Kind, ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    Field(min_length=1),
]
"""Kinds of documents, also read from text: product,filing."""

SHORTEST = 128
"""Tokens that hold the longest question and answer, in bytes."""
SAMPLE = 2000
"""Documents that byte pairs are learnt from, and that chance is counted on."""


@register_task("documents", version=VERSION)
class Documents(SegmentedTask):
    """Facts from generated product pages, device filings and directories; needs no download."""

    prompted: ClassVar[bool] = True

    kinds: Kinds = Field(KINDS, description="what is written: product,filing,directory")
    tokenizer: Tokenizer = Field("bytes", description="bytes, or byte pairs of generated text")
    vocab_size: int = Field(2048, ge=257, le=65536, description="tokens of byte pairs")
    train: Segments = Field(segments_of(Segment, "256:10000"), description="length:examples,…")
    validation: Segments = Field(segments_of(Segment, "256:400"), description="length:examples,…")
    test: Segments = Field(
        segments_of(Segment, "256:1000,512:500"), description="length:examples,…"
    )

    def misfit(self, segment: Segment) -> str | None:
        if segment.length < SHORTEST:
            return (
                f"a question and its answer may not fit. Expected length >= {SHORTEST}, "
                f"got {segment.length}"
            )
        return None

    @property
    def tokens(self) -> int:
        return codec_size(self.tokenizer, self.vocab_size)

    def codec(self) -> Codec:
        return _codec(self)

    def report(self) -> LoadReport:
        return LoadReport(names={"kind": list(KINDS)})

    def chance(self, segment: Segment) -> float:
        """The answer's tokens guessed from the attribute and their place alone, counted on
        documents of their own."""
        return _chance(self)

    def block(self, split: Split, index: int, seed: int, block: int) -> Examples:
        generator = torch.Generator().manual_seed(block_seed(seed, split, index, block))
        return self._rows(self.segments(split)[index], generator, BLOCK, split == "train")

    def examples(self, segment: Segment, generator: Generator, count: int) -> Examples:
        """``count`` fresh rows; in training the end of the line follows the answer."""
        return self._rows(segment, generator, count, training=False)

    def _rows(self, segment: Segment, generator: Generator, count: int, training: bool) -> Examples:
        L, codec = segment.length, self.codec()
        draw = Random(int(torch.randint(2**62, (), generator=generator)))
        end = codec.encode("\n") if training else []
        tokens = np.full((count, L + 1), codec.pad, np.int32)
        labels = np.full((count, L), IGNORE, np.int64)
        slices = {name: np.zeros((count, L), np.int64) for name in ("kind", "gap")}
        for row in range(count):
            made, chosen = self._draw(L, draw)
            question = made.questions[chosen]
            document, places = codec.encode_with(made.text, question.ranges)
            ending, answer = codec.encode(question.ending), codec.encode(f" {question.answer}")
            answer += end
            room = L + 1 - len(ending) - len(answer)
            first, after = window(len(document), room, places[0], draw.random())
            tokens[row], position = prompt_row(document[first:after], ending, answer, L, codec.pad)
            labels[row, position - 1 :] = tokens[row, position:]
            gap = len(ending) + after - places[0][0]
            slices["gap"][row] = 1 << (gap - 1).bit_length()
            slices["kind"][row] = KINDS.index(made.kind)
        return Examples(
            torch.from_numpy(tokens[:, :-1].astype(np.int64)),
            torch.from_numpy(labels),
            {name: torch.from_numpy(values) for name, values in slices.items()},
        )

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Padding, what comes before the answer, and the answer's labels."""
        return prompt_spans(inputs, labels, self.codec().pad)

    def _draw(self, length: int, draw: Random) -> tuple[Generated, int]:
        """A document that about fills a row, and which of its questions is asked."""
        characters = length if self.tokenizer == "bytes" else 3 * length
        size = int(characters * draw.uniform(0.4, 1.1))
        made = generate_document(draw.choice(self.kinds), size, draw)
        return made, draw.randrange(len(made.questions))


@lru_cache(maxsize=8)
def _codec(task: Documents) -> Codec:
    draw = Random(0)
    texts = (generate_document(draw.choice(task.kinds), 1000, draw).text for _ in range(SAMPLE))
    key = f"generated {VERSION} {task.kinds}"
    return make_codec(task.tokenizer, task.vocab_size, key, texts)[0]


@lru_cache(maxsize=8)
def _chance(task: Documents) -> float:
    """The commonest token at each place of each attribute, fitted on one half of a sample."""
    draw, codec = Random(1), task.codec()
    answers = []
    for _ in range(SAMPLE):
        made, chosen = task._draw(SHORTEST, draw)
        answer = codec.encode(f" {made.questions[chosen].answer}")
        answers.append(
            [(made.attributes[chosen], position, token) for position, token in enumerate(answer)]
        )
    seen: dict[tuple[str, int], Counter[int]] = {}
    for places in answers[: SAMPLE // 2]:
        for attribute, position, token in places:
            seen.setdefault((attribute, position), Counter())[token] += 1
    usual = {place: counts.most_common(1)[0][0] for place, counts in seen.items()}
    hits = [
        sum(usual.get((attribute, position)) == token for attribute, position, token in places)
        / len(places)
        for places in answers[SAMPLE // 2 :]
    ]
    return float(np.mean(hits))
