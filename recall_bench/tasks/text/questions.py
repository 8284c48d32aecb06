"""Questions about documents, one per row: the document, as far as it fits, a prompt, the answer.

    inputs   . . document tokens … . key :      value tokens
    labels   - -        -        … -     value  tokens
    (padding comes first, so that every row ends with its answer)

The prompt is the published one (Based, 2402.18668; see `recall_bench.documents.corpus`). The labels
are the answer's tokens, fed back as they would be in decoding; in training the end of the line
follows, so that a model learns where answers end. A document that is too long is cut so that the
answer lies in the middle of what is kept, as published; ``truncation=random`` puts it anywhere in
the training rows, and keeps a model from learning where to look. With ``ask=all`` a training row
goes on with the other questions whose answers it shows, all in an order drawn anew: five times the
answers to learn from in the same tokens where a page has five attributes.

Shapes: B rows, L length.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from recall_bench.documents.report import LoadReport
from recall_bench.documents.tokens import Codec
from recall_bench.errors import UserError
from recall_bench.tasks.base import (
    BLOCK,
    Examples,
    Role,
    Segment,
    Span,
    Split,
    answer_runs,
    block_seed,
)
from recall_bench.tasks.text.prepared import prepared
from recall_bench.tasks.text.question_options import QuestionOptions

if TYPE_CHECKING:
    from torch import Tensor


def prompt_spans(inputs: Tensor, labels: Tensor, pad: int) -> list[Span]:
    """Padding, what comes before the answer, and the answer's labels: (L,) inputs and labels.
    Where a row asks on, the next question and its answer follow."""
    start = int((inputs != pad).nonzero()[0])
    spans = [Span(0, start, "filler")] if start else []
    name = "document"
    for asked, first, after in answer_runs(labels, start):
        kind: Role = "query" if asked else "other"
        spans.append(Span(first, after, kind, name="answer" if asked else name))
        name = "question"
    return spans


class QuestionSegment(Segment):
    """Questions about documents of known sites, or of sites that were never trained on."""

    held_out: int = Field(0, ge=0, le=1, description="1: of sites never trained on")


class QuestionTask(QuestionOptions):
    """The rows of all tasks that ask questions about the documents they read.

    Subclasses are described in `QuestionOptions`.
    """

    prompted: ClassVar[bool] = True

    def codec(self) -> Codec:
        return prepared(self).codec

    def report(self) -> LoadReport:
        return prepared(self).report

    def segments(self, split: Split) -> tuple[QuestionSegment, ...]:
        """One per length, and in the test one more per length for the sites held out, if any."""
        segments = []
        most = self.train_questions if split == "train" else self.test_questions
        lengths = (self.test_lengths if split == "test" else ()) or (self.length,)
        for length in lengths:
            for held_out in (0, 1):
                there = len(prepared(self).members[split, held_out])
                if there:
                    examples = there if most is None else min(there, most)
                    segment = QuestionSegment(length=length, examples=examples, held_out=held_out)
                    segments.append(segment)
        if not segments:
            raise UserError(
                f"No {split} questions are left for {self.name}: "
                f"{'; '.join(prepared(self).report.lines())}. Expected more documents, or another "
                f"test_share than {self.test_share} or split_seed than {self.split_seed}."
            )
        return tuple(segments)

    def chance(self, segment: Segment) -> float:
        """The answer's tokens guessed from the key and their place alone, the usual ones in
        training at each: the mean over the test questions of the segment's kind."""
        assert isinstance(segment, QuestionSegment)
        return prepared(self).chance(segment.held_out)

    def block(self, split: Split, index: int, seed: int, block: int) -> Examples:
        """The questions of a split in an order drawn from the seed, each once."""
        segment = self.segments(split)[index]
        mine = prepared(self)
        order = np.random.default_rng(block_seed(seed, split, index, 0)).permutation(
            mine.members[split, segment.held_out]
        )
        chosen = order[: segment.examples][BLOCK * block : BLOCK * (block + 1)]
        draw = np.random.default_rng(block_seed(seed, split, index, block + 1))
        centred = split != "train" or self.truncation == "centred"
        shares = np.full(BLOCK, 0.5) if centred else draw.random(BLOCK)
        training = split == "train"
        asked = [
            mine.together(int(number), draw) if training and self.ask == "all" else [int(number)]
            for number in chosen
        ]
        made = mine.rows(chosen, asked, shares, segment.length, training)
        return replace(made, slices={**made.slices, "held_out": segment.held_out})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Padding, what comes before the answer, and the answer's labels."""
        return prompt_spans(inputs, labels, self.codec().pad)
