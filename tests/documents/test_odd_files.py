"""One odd value never stops a loader: it is read, or counted and reported."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from document_data import write_squad

from recall_bench.documents import plain, squad, swde
from recall_bench.documents.corpus import Corpus
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import fingerprint
from recall_bench.documents.swde import read_truth
from recall_bench.documents.tokens import LONGEST, make_codec, pieces

CONTEXT = "Rice grows here. The fields of the town feed 300 people. Nobody knows why."
ODD: list[Any] = [None, 0, -1, 1.5, True, "", "x", [], [None], {}, {"text": 1}, "\ud800", 10**30]
GOOD = {"id": "good", "question": "How many?", "answers": [{"text": "300 people"}]}


def load(tmp_path: Path, content: Any, **options: Any) -> Corpus:
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(content))
    corpus = squad.load(file, **options)
    assert Corpus.unpack(corpus.pack()) == corpus
    return corpus


PLACES = """article title paragraphs paragraph context qas question
id asked answers answer text answer_start""".split()  # noqa: SIM905


def with_odd(place: str, odd: Any) -> dict[str, Any]:
    """A data set of one good question, and one more with ``odd`` at a place."""
    answer = odd if place == "answer" else {"text": "people", "answer_start": 49}
    answer = {**answer, place: odd} if place in ("text", "answer_start") else answer
    entry: Any = {"id": "odd", "question": "Who?", "answers": [answer]}
    names = {"id": "id", "asked": "question", "answers": "answers"}
    entry = (
        odd if place == "question" else {**entry, **({names[place]: odd} if place in names else {})}
    )
    paragraph: Any = {"context": CONTEXT, "qas": [entry]}
    paragraph |= {place: odd} if place in ("context", "qas") else {}
    article: Any = {"title": "t", "paragraphs": [odd if place == "paragraph" else paragraph]}
    article |= {place: odd} if place in ("title", "paragraphs") else {}
    good = {"title": "g", "paragraphs": [{"context": CONTEXT, "qas": [GOOD]}]}
    return {"data": [odd if place == "article" else article, good]}


@pytest.mark.parametrize("form", ["cloze", "question"])
@pytest.mark.parametrize("place", PLACES)
def test_an_odd_value_anywhere_in_squad_leaves_the_other_questions(
    tmp_path: Path, place: str, form: str
) -> None:
    for odd in ODD:
        corpus = load(tmp_path, with_odd(place, odd), form=form)
        assert "300 people" in [question.answer for question in corpus.questions]
        nothing_there = place in ("paragraphs", "qas") and odd == []
        unanswered = "questions without an answer" in corpus.report.counts
        reported = bool(corpus.report.warnings) or unanswered or nothing_there
        assert len(corpus.questions) == 2 or reported


def test_the_hub_s_dictionaries_of_answers_are_read(tmp_path: Path) -> None:
    answers = {"text": ["300 people", "people"], "answer_start": [45]}
    paragraph = {"context": CONTEXT, "qas": [{**GOOD, "answers": answers}]}
    corpus = load(tmp_path, {"data": [{"title": "t", "paragraphs": [paragraph]}]})
    assert [question.answer for question in corpus.questions] == ["300 people"]
    assert not corpus.report.warnings


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: {"row_idx": 0, "row": row}])
def test_the_hub_s_rows_are_read_as_paragraphs(tmp_path: Path, wrap: Any) -> None:
    answers = {"text": ["300 people"], "answer_start": [45]}
    row = {"id": "1", "title": "t", "context": CONTEXT, "question": "Who?", "answers": answers}
    corpus = load(tmp_path, {"rows": [wrap(row)]}, form="question")
    (question,) = corpus.questions
    assert question.ending == "\nQuestion: Who?\nAnswer:"


def test_only_a_line_feed_ends_a_json_line(tmp_path: Path) -> None:
    separators = "\u2028\u2029\x85\x0b\x0c\x1c"
    rows = [{"text": f"{CONTEXT}{separators}It is", "value": "300 people"}] * 2
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join([lines[0], "{", lines[1]]), "utf-8")
    corpus = squad.load(tmp_path)
    assert len(corpus.questions) == 2
    assert corpus.report.warnings == {"line that is not JSON": 1}


def test_a_directory_or_a_dead_link_named_like_a_file_is_reported(tmp_path: Path) -> None:
    write_squad(tmp_path / "towns.json", 7)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "dead.jsonl").symlink_to("nowhere")
    corpus = squad.load(tmp_path)
    assert (len(corpus.questions), corpus.report.warnings) == (7, {"not a file, left out": 2})
    (tmp_path / "text.txt").write_text("some text\n" * 20)
    (tmp_path / "folder.txt").mkdir()
    assert plain.load(tmp_path).report.warnings["not a file, left out"] == 1


def test_a_file_name_that_is_no_text_has_a_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "caf\udce9.json"
    file.write_text("{}")
    assert fingerprint({file.name: file}).startswith("content:")


def test_a_count_of_many_digits_in_the_ground_truth_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "site-title.txt"
    lines = ["0000\t1\tgood", f"0001\t{'9' * 5000}\tx", "²\t1\tx", "0002\t²\tx", "0003"]
    file.write_text("\n".join(["header", "counts", *lines]))
    report = LoadReport()
    assert read_truth(file, report) == {"0000": ["good"]}
    assert report.warnings == {"line of ground truth that cannot be read": 4}


def test_text_is_cut_for_training_only_where_runs_are_very_long() -> None:
    usual = "One, two; three_four 56\n" * 400
    assert list(pieces(usual)) == [usual]
    for run in ("a" * 9000, "ж" * 9000, "-" * 9000, " " * 9000):
        text = f"x {run} 1"
        parts = list(pieces(text))
        assert "".join(parts) == text
        assert max(map(len, parts)) <= LONGEST + 2


def test_a_text_without_spaces_trains_in_time_linear_in_its_length() -> None:
    began = time.process_time()
    codec, _ = make_codec("bpe", 300, "no spaces", ["abcdefghij" * 30_000])
    assert time.process_time() - began < 10, "the square of the length takes a minute"
    assert codec.decode(codec.encode("abcdef")) == "abcdef"


def test_names_of_files_that_are_no_text_reach_neither_corpus_nor_report(tmp_path: Path) -> None:
    pages, truth = tmp_path / "film" / "film-s\udce9(0001)", tmp_path / "groundtruth" / "film"
    for folder in (pages, truth):
        folder.mkdir(parents=True)
    for name in ("0000", "caf\udce9"):
        (pages / f"{name}.htm").write_text("<p>Director: Jane Roe</p>")
    (truth / "film-s\udce9-director.txt").write_text("header\ncounts\n0000\t1\tJane Roe\n")
    corpus = swde.load(tmp_path)
    assert len(corpus.questions) == 1
    assert Corpus.unpack(corpus.pack()) == corpus
