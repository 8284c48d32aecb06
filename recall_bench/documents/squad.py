"""SQuAD's JSON, and ready prompts in JSON, as questions whose answer comes next.

SQuAD (Rajpurkar et al., 1606.05250; version 2 and translations share the layout) asks questions
about paragraphs. Based (2402.18668) had a language model reword each into a text that the answer
continues; those rewordings are rows of ``text`` and ``value``, and are read as such. From SQuAD
itself the same kind of text is made without a model: the paragraph, then the sentence that holds
the answer once more, as far as the answer. With ``form="question"`` the question itself follows.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, TypeAlias

from recall_bench.documents.corpus import Corpus, Document, Question
from recall_bench.documents.html import decode
from recall_bench.documents.locate import ranges_of
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import Files
from recall_bench.errors import UserError

LOADER = 1
"""Increase it when the same files give other documents or questions."""

Form: TypeAlias = Literal["cloze", "question"]

FEWEST_WORDS = 3
"""Words that must precede the answer in its sentence, so that they identify the question."""

_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])|\n+")


def find(path: Path) -> Files:
    """A .json or .jsonl file, or those directly in a directory; raises `ValueError` for none."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    matches = {file.name: file for file in files if file.suffix in (".json", ".jsonl")}
    if not matches:
        raise ValueError(f"no .json or .jsonl file at {path}. Expected SQuAD's JSON")
    return matches


def load(path: Path, form: Form = "cloze") -> Corpus:
    """Every paragraph that has a question, and a report of everything unusable.

    Raises `UserError` for a file that is neither SQuAD's JSON nor rows of ``text`` and ``value``.
    """
    corpus = Corpus([], [], LoadReport())
    for name, file in find(path).items():
        corpus.report.count("files")
        content = _parse(file)
        if isinstance(content, dict):
            _read_squad(content, name, form, corpus)
        else:
            _read_rows(content, name, corpus)
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


def _parse(file: Path) -> Any:
    """SQuAD's dictionary, or a list of rows."""
    text, _ = decode(file.read_bytes())
    try:
        if file.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{file} is not JSON: {error}. Expected SQuAD's JSON.") from error
    rows = content.get("rows") if isinstance(content, dict) else content
    squad = isinstance(content, dict) and isinstance(content.get("data"), list)
    if not squad and not isinstance(rows, list):
        raise UserError(
            f"{file} is not laid out as SQuAD. Expected {{'data': [{{'title', 'paragraphs': …}}]}} "
            f"or rows of 'text' and 'value'."
        )
    return content if squad else rows


def _read_squad(content: dict[str, Any], name: str, form: Form, corpus: Corpus) -> None:
    seen: set[str] = set()
    for number, article in enumerate(content["data"]):
        title = article.get("title", f"{name} {number}")
        for index, paragraph in enumerate(article.get("paragraphs", [])):
            where = f"{title} paragraph {index}"
            corpus.report.count("paragraphs")
            context = paragraph.get("context", "")
            if not context.strip():
                corpus.report.warn("empty paragraph", where)
                continue
            asked = [
                question
                for entry in paragraph.get("qas", [])
                if (question := _ask(entry, context, form, where, seen, corpus))
            ]
            if asked:
                corpus.documents.append(Document(where, title, context))
                corpus.questions.extend(asked)


def _ask(
    entry: dict[str, Any], context: str, form: Form, where: str, seen: set[str], corpus: Corpus
) -> Question | None:
    """One question about a paragraph, None with a warning or count if it cannot be asked."""
    report = corpus.report
    identity = str(entry.get("id", f"{where} {entry.get('question')}"))
    if identity in seen:
        report.warn("question listed twice, the first counts", identity)
        return None
    seen.add(identity)
    answers = entry.get("answers") or []
    if not answers:
        report.count("questions without an answer")
        return None
    text, start = answers[0].get("text", ""), answers[0].get("answer_start", -1)
    answer = " ".join(text.split())
    ranges = ranges_of(answer, context)
    if answer and start >= 0 and context.startswith(text, start):
        place = (start, start + len(text))
        ranges = (place, *(other for other in ranges if other != place))
    elif ranges:
        report.warn("answer not where the file says, found elsewhere", identity)
    else:
        report.warn("answer not in the paragraph", identity)
        return None
    if form == "question":
        ending = f"\nQuestion: {' '.join(entry['question'].split())}\nAnswer:"
    else:
        beginning = cloze(context, ranges[0][0])
        if beginning is None:
            report.count(f"answers within the first {FEWEST_WORDS} words of their sentence")
            return None
        ending = f"\n{beginning}"
    return Question(len(corpus.documents), "answer", ending, answer, ranges)


def _read_rows(rows: list[Any], name: str, corpus: Corpus) -> None:
    """Ready prompts: rows of ``text`` and ``value``, with any other fields."""
    for number, row in enumerate(rows):
        where = f"{name} row {number}"
        corpus.report.count("rows")
        if not isinstance(row, dict) or not row.get("text") or not row.get("value"):
            corpus.report.warn("row without text and value", where)
            continue
        text = str(row["text"]).rstrip()
        value = " ".join(str(row["value"]).split())
        ranges = ranges_of(value, text)
        if not ranges:
            corpus.report.warn("answer not in the text", where)
            continue
        # The last sentence is what the answer continues; all before it is the document.
        position = max([ranges[-1][1], *(end.end() for end in _SENTENCE_END.finditer(text))])
        question = Question(
            len(corpus.documents), str(row.get("key", "answer")), text[position:], value, ranges
        )
        corpus.documents.append(Document(where, name, text[:position]))
        corpus.questions.append(question)
