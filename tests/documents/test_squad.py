import json
from pathlib import Path
from typing import Any

import pytest
from document_data import write_squad

from recall_bench.documents import squad
from recall_bench.documents.corpus import Corpus
from recall_bench.errors import UserError

CONTEXT = "Rice grows here. The fields of the town feed 300 people. Nobody knows why."


def load(tmp_path: Path, *questions: dict[str, Any], context: str = CONTEXT, **more: Any) -> Corpus:
    paragraph = {"context": context, "qas": list(questions)}
    content = {"data": [{"title": "Rice", "paragraphs": [paragraph]}]}
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(content))
    return squad.load(file, **more)


def asked(text: str, start: int | None = None, **more: Any) -> dict[str, Any]:
    start = CONTEXT.find(text) if start is None else start
    return {
        "id": "1",
        "question": "How many?",
        **more,
        "answers": [{"text": text, "answer_start": start}],
    }


def test_the_text_ends_so_that_the_answer_comes_next(tmp_path: Path) -> None:
    corpus = load(tmp_path, asked("300 people"))
    (question,) = corpus.questions
    assert question.ending == "\nThe fields of the town feed"
    assert question.answer == "300 people"
    assert [CONTEXT[a:b] for a, b in question.ranges] == ["300 people"]
    assert not corpus.report.warnings


def test_the_question_itself_can_be_asked(tmp_path: Path) -> None:
    (question,) = load(tmp_path, asked("Rice"), form="question").questions
    assert question.ending == "\nQuestion: How many?\nAnswer:"


def test_an_answer_at_the_beginning_of_its_sentence_is_counted(tmp_path: Path) -> None:
    corpus = load(tmp_path, asked("Rice"))
    assert not corpus.questions
    assert corpus.report.counts["answers within the first 3 words of their sentence"] == 1


def test_answers_at_wrong_places_missing_ones_and_duplicates_are_counted(tmp_path: Path) -> None:
    corpus = load(
        tmp_path,
        asked("300 people", 3, id="a"),
        asked("400 people", 45, id="b"),
        asked("300 people", id="a"),
        {"id": "c", "question": "Why?", "answers": [], "is_impossible": True},
    )
    assert [question.answer for question in corpus.questions] == ["300 people"]
    assert corpus.report.warnings == {
        "answer not where the file says, found elsewhere": 1,
        "answer not in the paragraph": 1,
        "question listed twice, the first counts": 1,
    }
    assert corpus.report.counts["questions without an answer"] == 1


def test_an_empty_paragraph_is_counted(tmp_path: Path) -> None:
    corpus = load(tmp_path, asked("Rice"), context=" ")
    assert corpus.report.warnings == {"empty paragraph": 1}


def test_ready_prompts_are_cut_after_the_last_sentence(tmp_path: Path) -> None:
    rows = [
        {"text": f"{CONTEXT} The town feeds", "value": "300 people", "title": "x"},
        {"text": "No answer here. It is", "value": "missing"},
        {"value": "no text"},
    ]
    for name, text in (
        ("rows.json", json.dumps(rows)),
        ("rows.jsonl", "\n".join(map(json.dumps, rows))),
    ):
        (tmp_path / name).write_text(text)
        corpus = squad.load(tmp_path / name)
        (question,) = corpus.questions
        assert (question.ending, question.answer) == ("The town feeds", "300 people")
        assert corpus.documents[0].text + question.ending == rows[0]["text"]
        assert corpus.report.warnings == {
            "answer not in the text": 1,
            "row without text and value": 1,
        }


def test_every_paragraph_of_a_file_is_read(tmp_path: Path) -> None:
    corpus = squad.load(write_squad(tmp_path / "towns.json", 7))
    assert len(corpus.questions) == len(corpus.documents) == 7
    assert corpus.questions[3].ending == "\nBy now it has"


@pytest.mark.parametrize("content", ["{", "[1", '{"data": 3}', '"text"', "7"])
def test_what_is_not_squad_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match="Expected"):
        squad.load(tmp_path / "x.json")


def test_a_directory_without_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.json or \.jsonl"):
        squad.find(tmp_path)
