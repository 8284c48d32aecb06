"""Documents and questions about them, as every loader returns them."""

import gzip
import json
from dataclasses import asdict, dataclass, field

from recall_bench.documents.report import LoadReport

Range = tuple[int, int]
"""Start and stop, in characters of a document."""


@dataclass(frozen=True)
class Document:
    """A text, the site or collection that it comes from, and its name there."""

    name: str
    site: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question about a document, and the places of its answer there.

    The prompt is the document, as far as it fits, and ``ending``; a space and the answer follow.
    ``ranges`` are the places of the answer in the document, in order.
    """

    document: int
    key: str
    ending: str
    answer: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Corpus:
    """The documents and questions of a data set."""

    documents: list[Document]
    questions: list[Question]
    report: LoadReport = field(default_factory=LoadReport)

    def pack(self) -> bytes:
        """The corpus as bytes, for the cache."""
        content = {
            "documents": [asdict(document) for document in self.documents],
            "questions": [asdict(question) for question in self.questions],
            "report": self.report.to_json(),
        }
        return gzip.compress(json.dumps(content, ensure_ascii=False).encode(), 1, mtime=0)

    @staticmethod
    def unpack(packed: bytes) -> "Corpus":
        """The corpus that `pack` made bytes of."""
        content = json.loads(gzip.decompress(packed))
        questions = [
            Question(**{**fields, "ranges": tuple((a, b) for a, b in fields["ranges"])})
            for fields in content["questions"]
        ]
        documents = [Document(**fields) for fields in content["documents"]]
        return Corpus(documents, questions, LoadReport(**content["report"]))


def key_ending(key: str) -> str:
    """The published prompt of SWDE and FDA after the document: ``. key:`` (Based, appendix)."""
    return f". {key}:"
