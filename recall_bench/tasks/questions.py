"""Questions about documents, one a row: the document, as far as it fits, a prompt, the answer.

    inputs   . . document tokens … . key :      value tokens
    labels   - -        -        … -     value  tokens
    (padding comes first, so that every row ends with its answer)

The prompt is the published one (Based, 2402.18668; see `recall_bench.documents.corpus`). The labels
are the answer's tokens, fed back as they would be in decoding; in training the end of the line
follows, so that a model learns where answers end. A document that is too long is cut so that the
answer lies in the middle of what is kept, as published; ``truncation=random`` puts it anywhere in
the training rows, and keeps a model from learning where to look.

Shapes: B rows, L length.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor

from recall_bench.documents.cache import cached
from recall_bench.documents.corpus import Corpus, Question
from recall_bench.documents.encoded import Encoded, encode, encode_cached
from recall_bench.documents.packing import Truncation, prompt_row, window
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import Files, resolve, whereabouts
from recall_bench.documents.splits import part_of
from recall_bench.documents.tokens import Codec, Tokenizer, codec_size, make_codec
from recall_bench.errors import UserError
from recall_bench.tasks.base import (
    BLOCK,
    IGNORE,
    SPLITS,
    Examples,
    Segment,
    Span,
    Split,
    Task,
    block_seed,
)

Indices = NDArray[np.int64]

Lengths = Annotated[
    tuple[Annotated[int, Field(ge=32)], ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
]
"""Numbers of tokens, also read from text: 512,1024."""


def prompt_spans(inputs: Tensor, labels: Tensor, pad: int) -> list[Span]:
    """Padding, what comes before the answer, and the answer's labels: (L,) inputs and labels."""
    start, asked = int((inputs != pad).nonzero()[0]), int((labels != IGNORE).nonzero()[0])
    spans = [Span(0, start, "filler")] if start else []
    if asked > start:
        spans.append(Span(start, asked, "other", name="document"))
    return [*spans, Span(asked, len(inputs), "query", name="answer")]


class QuestionSegment(Segment):
    """Questions about documents of known sites, or of sites that were never trained on."""

    held_out: int = Field(0, ge=0, le=1, description="1: of sites never trained on")


class QuestionTask(Task):
    """The options and rows that all tasks of questions about read documents share.

    A subclass says which files are read (`find`) and how (`load`, with its ``loader`` version, and
    `loading` where options matter).
    """

    prompted: ClassVar[bool] = True
    loader: ClassVar[int] = 1

    data: str | None = Field(
        None, description="where the data lie; a run is named after their content, not the path"
    )
    length: int = Field(1024, ge=32, le=65536, description="tokens of a row, answer included")
    test_lengths: Lengths = Field((), description="lengths of the test rows, if other: 512,1024")
    tokenizer: Tokenizer = Field("bpe", description="byte pairs learnt from the training split")
    vocab_size: int = Field(8192, ge=257, le=1_000_000, description="tokens of byte pairs")
    truncation: Truncation = Field(
        "centred", description="where the answer lies in a training document that is cut"
    )
    learn: Literal["answer", "everything"] = Field(
        "answer", description="labels in training: the answers, or every token of the row"
    )
    train_questions: int | None = Field(None, ge=1, description="at most so many of a split")
    test_questions: int | None = Field(
        None, ge=1, description="at most so many a segment of test and validation"
    )
    test_share: float = Field(
        0.1, gt=0, le=0.4, description="of the documents: so many test, and as many validate"
    )
    split_seed: int = Field(0, ge=0, description="which documents those are")

    @classmethod
    def find(cls, path: Path) -> Files:
        """The files that are read below a path; raises `ValueError` where there are none."""
        raise NotImplementedError

    def load(self, path: Path) -> Corpus:
        """What the files hold."""
        raise NotImplementedError

    def loading(self) -> str:
        """Everything that decides what `load` makes of the same files."""
        return f"{self.name} {self.loader}"

    def held_out_sites(self, sites: list[str]) -> frozenset[str]:
        """The sites that are never trained on; none unless a task has such."""
        return frozenset()

    @field_validator("data")
    @classmethod
    def _by_content(cls, value: str | None) -> str | None:
        return resolve(value, cls.find) if value else None

    @model_validator(mode="after")
    def _has_data(self) -> "QuestionTask":
        if self.data is None:
            raise ValueError(f"{self.name} reads documents. Expected --data PATH")
        return self

    @property
    def tokens(self) -> int:
        return codec_size(self.tokenizer, self.vocab_size)

    def codec(self) -> Codec:
        return prepared(self).codec

    def report(self) -> LoadReport:
        return prepared(self).report

    def segments(self, split: Split) -> tuple[QuestionSegment, ...]:
        """One a length, and in the test one more of the sites held out, where there are any."""
        found = []
        most = self.train_questions if split == "train" else self.test_questions
        lengths = (self.test_lengths if split == "test" else ()) or (self.length,)
        for length in lengths:
            for held_out in (0, 1):
                there = len(prepared(self).members[split, held_out])
                if there:
                    examples = there if most is None else min(there, most)
                    segment = QuestionSegment(length=length, examples=examples, held_out=held_out)
                    found.append(segment)
        if not found:
            raise UserError(
                f"No {split} questions are left for {self.name}: "
                f"{'; '.join(prepared(self).report.lines())}. Expected more documents, or another "
                f"test_share than {self.test_share} or split_seed than {self.split_seed}."
            )
        return tuple(found)

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
        made = mine.rows(chosen, shares, segment.length, split == "train")
        return replace(made, slices={**made.slices, "held_out": segment.held_out})

    def describe(self, segment: Segment, inputs: Tensor, labels: Tensor) -> list[Span]:
        """Padding, what comes before the answer, and the answer's labels."""
        return prompt_spans(inputs, labels, self.codec().pad)


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a task in tokens: read once, then kept for the process."""

    task: QuestionTask
    codec: Codec
    encoded: Encoded
    questions: list[Question]
    sites: list[str]
    keys: list[str]
    site_of: list[int]
    """The site of each document, an index of ``sites``."""
    members: dict[tuple[Split, int], Indices]
    """The questions of a split, of the sites trained on (0) or held out (1)."""
    report: LoadReport

    @cached_property
    def learnt(self) -> frozenset[tuple[str, str]]:
        """(key, answer) of every question in training."""
        asked = (self.questions[number] for number in self.members["train", 0])
        return frozenset((question.key, question.answer.casefold()) for question in asked)

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the process anyway
    def chance(self, held_out: int) -> float:
        """The accuracy of the most frequent token at each place of each key's answers."""
        seen: dict[tuple[str, int], Counter[int]] = {}
        for number in self.members["train", 0]:
            for place in self._places(int(number)):
                seen.setdefault(place[:2], Counter())[place[2]] += 1
        usual = {place: counts.most_common(1)[0][0] for place, counts in seen.items()}
        scores = []
        for number in self.members["test", held_out]:
            hits = [usual.get((key, at)) == token for key, at, token in self._places(int(number))]
            scores.append(sum(hits) / len(hits))
        least = 1 / self.task.tokens
        return min(max(float(np.mean(scores)), least), 1 - least)

    def _places(self, number: int) -> Iterator[tuple[str, int, int]]:
        """(key, place, token) of each token of an answer."""
        key = self.questions[number].key
        for at, token in enumerate(self.encoded.answers[number].tolist()):
            yield key, at, token

    def rows(
        self, chosen: Indices, shares: NDArray[np.float64], length: int, training: bool
    ) -> Examples:
        """The rows of some questions; ``shares`` say where their answers lie, see `window`."""
        L, end = length, self.codec.encode("\n") if training else []
        tokens = np.full((len(chosen), L + 1), self.codec.pad, np.int32)
        labels = np.full((len(chosen), L), IGNORE, np.int64)
        slices = {name: np.zeros((len(chosen), L), np.int64) for name in ("key", "site", "seen")}
        slices["gap"] = np.zeros((len(chosen), L), np.int64)
        for row, number in enumerate(chosen.tolist()):
            question = self.questions[number]
            document = self.encoded.documents[question.document]
            ending = self.encoded.endings[number]
            answer = np.concatenate([self.encoded.answers[number], np.array(end, np.int32)])
            room = L + 1 - len(ending) - len(answer)
            places = self.encoded.places(number)
            first, after = window(len(document), room, places[0], float(shares[row]))
            tokens[row], at = prompt_row(document[first:after], ending, answer, L, self.codec.pad)
            begin = L + 1 - len(answer) - len(ending) - (after - first)
            learnt = begin if training and self.task.learn == "everything" else at - 1
            labels[row, learnt:] = tokens[row, learnt + 1 :]
            last = max(a for a, b in places if first <= a and b <= after)
            gap = at - 1 - (begin + last - first) + 1
            slices["gap"][row] = 1 << (gap - 1).bit_length()
            slices["key"][row] = self.keys.index(question.key)
            slices["site"][row] = self.site_of[question.document]
            slices["seen"][row] = (question.key, question.answer.casefold()) in self.learnt
        return Examples(
            torch.from_numpy(tokens[:, :-1].astype(np.int64)),
            torch.from_numpy(labels),
            {name: torch.from_numpy(values) for name, values in slices.items()},
        )


@lru_cache(maxsize=4)
def prepared(task: QuestionTask) -> Prepared:
    """The documents and questions of a task, split and in tokens; what is slow comes from the
    cache. Raises `UserError` where the data are not to be found."""
    assert task.data is not None
    loaded = f"{task.loading()} {task.data}"
    corpus = Corpus.unpack(
        cached(
            "corpora",
            loaded,
            ".json.gz",
            lambda: task.load(whereabouts(str(task.data), task.find)).pack(),
        )
    )
    sites = sorted({document.site for document in corpus.documents})
    apart = task.held_out_sites(sites)
    parts: list[tuple[Split, int]] = [
        ("test", 1)
        if document.site in apart
        else (part_of(document.name, task.split_seed, task.test_share), 0)
        for document in corpus.documents
    ]
    learnt = [
        document.text
        for document, part in zip(corpus.documents, parts, strict=True)
        if part == ("train", 0)
    ]
    key = f"{loaded} {task.split_seed} {task.test_share} {sorted(apart)}"
    codec, name = make_codec(task.tokenizer, task.vocab_size, key, learnt)
    encoded = encode_cached(f"{loaded} {name}", lambda: encode(corpus, codec))
    report = LoadReport(**corpus.report.to_json())
    members: dict[tuple[Split, int], list[int]] = {
        (split, held_out): [] for split in SPLITS for held_out in (0, 1)
    }
    shortest = min((task.length, *task.test_lengths))
    for number, question in enumerate(corpus.questions):
        place = encoded.places(number)[0]
        needed = len(encoded.endings[number]) + len(encoded.answers[number]) + place[1] - place[0]
        if needed > shortest:  # one more for the end of the line, of length + 1
            where = corpus.documents[question.document].name
            report.warn(f"question that does not fit {shortest} tokens, left out", where)
            continue
        members[parts[question.document]].append(number)
    for (split, held_out), numbers in members.items():
        if numbers:
            kind = " of sites held out" if held_out else ""
            report.count(f"questions to {split}{kind}", len(numbers))
    keys = sorted({question.key for question in corpus.questions})
    report.names = {"key": keys, "site": sites}
    return Prepared(
        task=task,
        codec=codec,
        encoded=encoded,
        questions=corpus.questions,
        sites=sites,
        keys=keys,
        site_of=[sites.index(document.site) for document in corpus.documents],
        members={part: np.array(numbers, np.int64) for part, numbers in members.items()},
        report=report,
    )
