"""SQuAD as completions: a paragraph, then a text that the answer continues.

The files are SQuAD's JSON (any version or translation) or the published completions, rows of
``text`` and ``value``; see `recall_bench.documents.squad`. The published completions were reworded
by a language model; ``form=cloze`` repeats the sentence of the paragraph that holds the answer,
which asks for copying, and ``form=question`` asks the question as it is.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from recall_bench.documents import squad
from recall_bench.documents.corpus import Corpus
from recall_bench.documents.source import Files
from recall_bench.registry import register_task
from recall_bench.tasks.text.questions import QuestionTask


@register_task("squad")
class SQuAD(QuestionTask):
    """Questions about Wikipedia paragraphs whose answer is the next words of a text."""

    loader: ClassVar[int] = squad.LOADER

    form: squad.Form = Field("cloze", description="the sentence of the answer, or the question")
    length: int = Field(512, ge=32, le=65536, description="tokens of a row, answer included")

    @classmethod
    def find(cls, path: Path) -> Files:
        return squad.find(path)

    def load(self, path: Path) -> Corpus:
        return squad.load(path, self.form)

    def loading(self) -> str:
        return f"{super().loading()} {self.form}"
