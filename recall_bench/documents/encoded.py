"""A corpus in tokens: documents, endings, answers, and the places of answers in documents."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recall_bench.documents.cache import cached
from recall_bench.documents.corpus import Corpus, Range
from recall_bench.documents.packing import Tokens
from recall_bench.documents.tokens import Codec


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths in one array."""

    flat: Tokens
    ends: NDArray[np.int64]

    @staticmethod
    def of(sequences: Iterable[Sequence[int]]) -> "Ragged":
        """Sequences of numbers as one array of int32."""
        kept = [np.asarray(sequence, np.int32) for sequence in sequences]
        flat = np.concatenate(kept) if kept else np.empty(0, np.int32)
        return Ragged(flat, np.cumsum([len(part) for part in kept], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Tokens:
        start = int(self.ends[index - 1]) if index else 0
        return self.flat[start : int(self.ends[index])]


@dataclass(frozen=True)
class Encoded:
    """The tokens of a corpus: ``documents`` has an entry per document, all else per question."""

    documents: Ragged
    endings: Ragged
    answers: Ragged
    ranges: Ragged
    """For each question, the (start, stop) of every place of its answer, flattened."""

    def places(self, question: int) -> list[Range]:
        """The places of a question's answer in its document, in tokens."""
        return [(int(a), int(b)) for a, b in self.ranges[question].reshape(-1, 2)]


def encode(corpus: Corpus, codec: Codec) -> Encoded:
    """All tokens of a corpus; an answer is encoded with the space before it."""
    asked: dict[int, list[int]] = {}
    for number, question in enumerate(corpus.questions):
        asked.setdefault(question.document, []).append(number)
    documents = []
    ranges: list[list[int]] = [[] for _ in corpus.questions]
    for index, document in enumerate(corpus.documents):
        mine = asked.get(index, [])
        wanted = [place for number in mine for place in corpus.questions[number].ranges]
        ids, token_ranges = codec.encode_with(document.text, wanted)
        documents.append(ids)
        places = iter(token_ranges)
        for number in mine:
            for _ in corpus.questions[number].ranges:
                ranges[number] += next(places)
    return Encoded(
        Ragged.of(documents),
        Ragged.of(codec.encode(question.ending) for question in corpus.questions),
        Ragged.of(codec.encode(f" {question.answer}") for question in corpus.questions),
        Ragged.of(ranges),
    )


def encode_cached(key: str, make: Callable[[], Encoded]) -> Encoded:
    """The tokens that ``key`` identifies, from the cache if it has them."""
    packed = cached("tokens", key, ".npz", lambda: _pack(make()))
    with np.load(io.BytesIO(packed)) as arrays:
        return Encoded(*(Ragged(arrays[f.name], arrays[f"{f.name}_ends"]) for f in fields(Encoded)))


def _pack(encoded: Encoded) -> bytes:
    arrays: dict[str, Any] = {}
    for name in (f.name for f in fields(Encoded)):
        part: Ragged = getattr(encoded, name)
        arrays[name], arrays[f"{name}_ends"] = part.flat, part.ends
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
