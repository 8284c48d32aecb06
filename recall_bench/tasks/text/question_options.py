"""The options of tasks that ask questions about documents, and how the documents are read."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from recall_bench.documents.corpus import Corpus
from recall_bench.documents.packing import Truncation
from recall_bench.documents.tokens import Tokenizer, codec_size
from recall_bench.tasks.text.data_task import DataTask

Lengths = Annotated[
    tuple[Annotated[int, Field(ge=32)], ...],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
]
"""Numbers of tokens, also read from text: 512,1024."""


class QuestionOptions(DataTask):
    """The options of a `recall_bench.tasks.text.questions.QuestionTask`, and what it reads.

    A subclass defines which files it reads (`find`) and how (`load`, its version ``loader``, and
    `loading` if options change what it reads).
    """

    loader: ClassVar[int] = 1

    length: int = Field(1024, ge=32, le=65536, description="tokens of a row, answer included")
    test_lengths: Lengths = Field(
        (), description="lengths of the test rows, if they differ: 512,1024"
    )
    tokenizer: Tokenizer = Field("bpe", description="byte pairs learnt from the training split")
    vocab_size: int = Field(8192, ge=257, le=1_000_000, description="tokens of byte pairs")
    truncation: Truncation = Field(
        "centred", description="where the answer lies in a training document that is cut"
    )
    learn: Literal["answer", "everything"] = Field(
        "answer", description="labels in training: the answers, or every token of the row"
    )
    ask: Literal["one", "all"] = Field(
        "one", description="in a training row: one question, or all whose answers it shows"
    )
    train_questions: int | None = Field(None, ge=1, description="largest number of training rows")
    test_questions: int | None = Field(
        None, ge=1, description="largest number of rows of a test or validation segment"
    )
    test_share: float = Field(
        0.1, gt=0, le=0.4, description="share of the documents that test, and that validate"
    )
    split_seed: int = Field(0, ge=0, description="seed of the choice of those documents")

    def load(self, path: Path) -> Corpus:
        """The contents of the files."""
        raise NotImplementedError

    def loading(self) -> str:
        """Everything that decides what `load` makes of the same files."""
        return f"{self.name} {self.loader}"

    def held_out_sites(self, sites: list[str]) -> frozenset[str]:
        """The sites that are never trained on; none unless a task has such."""
        return frozenset()

    @property
    def tokens(self) -> int:
        return codec_size(self.tokenizer, self.vocab_size)
