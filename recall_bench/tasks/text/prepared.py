"""The data of a task of questions in tokens, and the rows made of them.

Shapes: B rows, L length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from recall_bench.documents.cache import cached
from recall_bench.documents.corpus import Corpus, Question, Range
from recall_bench.documents.encoded import Encoded, encode, encode_cached
from recall_bench.documents.packing import Tokens, prompt_row, window
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import whereabouts
from recall_bench.documents.splits import part_of
from recall_bench.documents.tokens import Codec, make_codec
from recall_bench.lazy import torch
from recall_bench.tasks.base import IGNORE, SPLITS, Examples, Split
from recall_bench.tasks.text.question_options import QuestionOptions

Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a task in tokens: read once, then kept for the process."""

    task: QuestionOptions
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
            hits = [
                usual.get((key, position)) == token
                for key, position, token in self._places(int(number))
            ]
            scores.append(sum(hits) / len(hits))
        least = 1 / self.task.tokens
        return min(max(float(np.mean(scores)), least), 1 - least)

    def _places(self, number: int) -> Iterator[tuple[str, int, int]]:
        """(key, place, token) of each token of an answer."""
        key = self.questions[number].key
        for position, token in enumerate(self.encoded.answers[number].tolist()):
            yield key, position, token

    @cached_property
    def _asked_in_training(self) -> dict[int, list[int]]:
        """The training questions of each document."""
        asked: dict[int, list[int]] = {}
        for number in self.members["train", 0].tolist():
            asked.setdefault(self.questions[number].document, []).append(number)
        return asked

    def together(self, number: int, draw: np.random.Generator) -> list[int]:
        """A training question and the others about its document, in an order drawn anew."""
        asked = self._asked_in_training[self.questions[number].document]
        return [asked[position] for position in draw.permutation(len(asked))]

    def rows(
        self,
        chosen: Indices,
        asked: list[list[int]],
        shares: NDArray[np.float64],
        length: int,
        training: bool,
    ) -> Examples:
        """The rows of some questions; ``shares`` say where their answers lie, see `window`.

        Each row asks its question, and of ``asked``, which has it too, what the row shows.
        """
        L, end = length, self.codec.encode("\n") if training else []
        tokens = np.full((len(chosen), L + 1), self.codec.pad, np.int32)
        labels = np.full((len(chosen), L), IGNORE, np.int64)
        slices = {name: np.zeros((len(chosen), L), np.int64) for name in ("key", "site", "seen")}
        slices["gap"] = np.zeros((len(chosen), L), np.int64)
        for row, number in enumerate(chosen.tolist()):
            document = self.encoded.documents[self.questions[number].document]
            shown, prompts = self._shown(number, asked[row], float(shares[row]), L, end)
            first, after = shown
            ending = np.concatenate([part for prompt in prompts.values() for part in prompt])
            tokens[row], position = prompt_row(document[first:after], ending, (), L, self.codec.pad)
            position -= len(ending)
            begin = position - (after - first)
            if training and self.task.learn == "everything":
                labels[row, begin:] = tokens[row, begin + 1 :]
            for other, (prompt, answer) in prompts.items():
                question = self.questions[other]
                here = slice(position + len(prompt) - 1, position + len(prompt) + len(answer) - 1)
                labels[row, here] = answer
                last = max(a for a, b in self.encoded.places(other) if first <= a and b <= after)
                gap = position + len(prompt) - (begin + last - first)
                slices["gap"][row, here] = 1 << (gap - 1).bit_length()
                slices["key"][row, here] = self.keys.index(question.key)
                slices["site"][row, here] = self.site_of[question.document]
                slices["seen"][row, here] = (
                    question.key,
                    question.answer.casefold(),
                ) in self.learnt
                position += len(prompt) + len(answer)
        return Examples(
            torch.from_numpy(tokens[:, :-1].astype(np.int64)),
            torch.from_numpy(labels),
            {name: torch.from_numpy(values) for name, values in slices.items()},
        )

    def _shown(
        self, number: int, asked: list[int], share: float, length: int, end: list[int]
    ) -> tuple[Range, dict[int, tuple[Tokens, Tokens]]]:
        """The part of a document that a row keeps, and its questions, each with its prompt and
        its answer: those ``asked`` whose answers are kept, or ``number`` alone where too little
        room is left beside them."""
        prompts = {
            other: (
                self.encoded.endings[other],
                np.concatenate([self.encoded.answers[other], np.array(end, np.int32)]),
            )
            for other in asked
        }
        place = self.encoded.places(number)[0]
        size = len(self.encoded.documents[self.questions[number].document])
        room = length + 1 - sum(len(a) + len(b) for a, b in prompts.values())
        if room < place[1] - place[0]:
            return self._shown(number, [number], share, length, end)
        first, after = window(size, room, place, share)
        kept = {
            other: prompt
            for other, prompt in prompts.items()
            if any(first <= a and b <= after for a, b in self.encoded.places(other))
        }
        return (first, after), kept


@lru_cache(maxsize=4)
def prepared(task: QuestionOptions) -> Prepared:
    """The documents and questions of a task, split and in tokens; what is slow comes from the
    cache. Raises `UserError` where the data are missing."""
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
