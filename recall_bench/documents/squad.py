"""SQuAD's JSON, and ready prompts in JSON, as questions whose answer comes next.

SQuAD (Rajpurkar et al., 1606.05250; version 2 and translations share the layout) asks questions
about paragraphs. Based (2402.18668) had a language model reword each into a text that the answer
continues; those rewordings are rows of ``text`` and ``value``, and are read as such. From SQuAD
itself the same kind of text is made without a model: the paragraph, then the sentence that holds
the answer once more, as far as the answer. With ``form="question"`` the question itself follows.
The hub's rows of SQuAD (context, question, answers) are read like its paragraphs.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recall_bench.documents.corpus import Corpus, Document, Question
from recall_bench.documents.html import decode
from recall_bench.documents.locate import ranges_of
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import Files
from recall_bench.documents.squad_entries import REPLACED, answers_of, paragraph_of, text_of
from recall_bench.errors import UserError

LOADER = 2
"""Increase it when the same files give other documents or questions."""

Form: TypeAlias = Literal["cloze", "question"]

FEWEST_WORDS = 3
"""Words that must precede the answer in its sentence, so that they identify the question."""

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n+")


def find(path: Path) -> Files:
    """A .json or .jsonl file, or those directly in a directory; raises `ValueError` for none."""
    matches = {file.name: file for file in _entries(path) if file.is_file()}
    if not matches:
        raise ValueError(f"no .json or .jsonl file at {path}. Expected SQuAD's JSON")
    return matches


def _entries(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return [file for file in files if file.suffix in (".json", ".jsonl")]


def load(path: Path, form: Form = "cloze") -> Corpus:
    """Every paragraph that has a question, and a report of everything unusable.

    Raises `UserError` for a file that is neither SQuAD's JSON nor rows of ``text`` and ``value``.
    """
    corpus = Corpus([], [], LoadReport())
    for entry in _entries(path):
        if not entry.is_file():
            corpus.report.warn("not a file, left out", text_of(entry.name))
    for name, file in find(path).items():
        corpus.report.count("files")
        name = text_of(name)
        content = _parse(file, name, corpus.report)
        if isinstance(content, dict):
            _read_squad(content, name, form, corpus)
        else:
            _read_rows(content, name, form, corpus)
    corpus.report.count("paragraphs with questions", len(corpus.documents))
    corpus.report.count("questions", len(corpus.questions))
    return corpus


def cloze(context: str, start: int) -> str | None:
    """The sentence of a context that holds an answer, as far as the answer at ``start``.

    None if too little of the sentence comes before it.
    """
    begin = max((m.end() for m in _SENTENCE_END.finditer(context) if m.end() <= start), default=0)
    beginning = " ".join(context[begin:start].split())
    return beginning if len(beginning.split()) >= FEWEST_WORDS else None


def _parse(file: Path, name: str, report: LoadReport) -> Any:
    """SQuAD's dictionary, or a list of rows."""
    text, _ = decode(file.read_bytes())
    if file.suffix == ".jsonl":
        return list(_lines(text, name, report))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}. Expected SQuAD's JSON.") from error
    rows = content.get("rows") if isinstance(content, dict) else content
    squad = isinstance(content, dict) and isinstance(content.get("data"), list)
    if not squad and not isinstance(rows, list):
        raise UserError(
            f"{file} is not laid out as SQuAD. Expected {{'data': [{{'title', 'paragraphs': …}}]}} "
            f"or rows of 'text' and 'value'."
        )
    return content if squad else rows


def _lines(text: str, name: str, report: LoadReport) -> Iterator[Any]:
    """The values of JSON lines; only a line feed ends a line."""
    for number, line in enumerate(text.split("\n")):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                report.warn("line that is not JSON", f"{name} line {number + 1}")


def _read_squad(content: dict[str, Any], name: str, form: Form, corpus: Corpus) -> None:
    seen: set[str] = set()
    for number, article in enumerate(content["data"]):
        if not isinstance(article, dict) or not isinstance(article.get("paragraphs"), list):
            corpus.report.warn("article without paragraphs", f"{name} {number}")
            continue
        title = text_of(article.get("title")) or f"{name} {number}"
        for index, paragraph in enumerate(article["paragraphs"]):
            _read_paragraph(paragraph, f"{title} paragraph {index}", title, form, seen, corpus)


def _read_paragraph(
    paragraph: Any, where: str, title: str, form: Form, seen: set[str], corpus: Corpus
) -> None:
    report = corpus.report
    report.count("paragraphs")
    entry = paragraph if isinstance(paragraph, dict) else {}
    context = text_of(entry.get("context"))
    if not context.strip():
        report.warn("empty paragraph", where)
        return
    if context != entry["context"]:
        report.warn(REPLACED, where)
    if not isinstance(entry.get("qas"), list):
        report.warn("paragraph without questions", where)
        return
    asked = [
        question
        for item in entry["qas"]
        if (question := _ask(item, context, form, where, seen, corpus))
    ]
    if asked:
        corpus.documents.append(Document(where, title, context))
        corpus.questions.extend(asked)


def _ask(
    entry: Any, context: str, form: Form, where: str, seen: set[str], corpus: Corpus
) -> Question | None:
    """One question about a paragraph, None with a warning or count if it cannot be asked."""
    report = corpus.report
    if not isinstance(entry, dict):
        report.warn("question that is not an object", where)
        return None
    asked = " ".join(text_of(entry.get("question")).split())
    identity = text_of(str(entry.get("id", f"{where} {entry.get('question')}")))
    if identity in seen:
        report.warn("question listed twice, the first counts", identity)
        return None
    seen.add(identity)
    if not entry.get("answers"):
        report.count("questions without an answer")
        return None
    text, start = next(answers_of(entry["answers"]), ("", -1))
    if not text:
        report.warn("answer that is not text", identity)
        return None
    answer = " ".join(text.split())
    ranges = ranges_of(answer, context)
    if start >= 0 and context.startswith(text, start):
        place = (start, start + len(text))
        ranges = (place, *(other for other in ranges if other != place))
    elif ranges:
        report.warn("answer not where the file says, found elsewhere", identity)
    else:
        report.warn("answer not in the paragraph", identity)
        return None
    if form == "question":
        if not asked:
            report.warn("question without text", identity)
            return None
        ending = f"\nQuestion: {asked}\nAnswer:"
    else:
        beginning = cloze(context, ranges[0][0])
        if beginning is None:
            report.count(f"answers within the first {FEWEST_WORDS} words of their sentence")
            return None
        ending = f"\n{beginning}"
    return Question(len(corpus.documents), "answer", ending, answer, ranges)


def _read_rows(rows: list[Any], name: str, form: Form, corpus: Corpus) -> None:
    """Ready prompts, rows of ``text`` and ``value``; or the hub's rows of SQuAD."""
    seen: set[str] = set()
    for number, row in enumerate(rows):
        where = f"{name} row {number}"
        corpus.report.count("rows")
        if isinstance(row, dict) and isinstance(row.get("row"), dict):
            row = row["row"]
        if paragraph := paragraph_of(row):
            _read_paragraph(paragraph, where, name, form, seen, corpus)
            continue
        text, value = _ready(row, "text").rstrip(), " ".join(_ready(row, "value").split())
        if not text or not value:
            corpus.report.warn("row without text and value", where)
            continue
        if text != str(row["text"]).rstrip():
            corpus.report.warn(REPLACED, where)
        ranges = ranges_of(value, text)
        if not ranges:
            corpus.report.warn("answer not in the text", where)
            continue
        # The last sentence is what the answer continues; all before it is the document.
        position = max([ranges[-1][1], *(end.end() for end in _SENTENCE_END.finditer(text))])
        key = text_of(str(row.get("key", "answer")))
        question = Question(len(corpus.documents), key, text[position:], value, ranges)
        corpus.documents.append(Document(where, name, text[:position]))
        corpus.questions.append(question)


def _ready(row: Any, field: str) -> str:
    """A field of a row as text; numbers count, as in a year."""
    value = row.get(field) if isinstance(row, dict) else None
    return text_of(str(value)) if isinstance(value, str | int | float) and value else ""
