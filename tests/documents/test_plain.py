from pathlib import Path

import pytest

from recall_bench.documents import plain

LINES = "".join(f"line {number}\n" for number in range(1000))


def load(tmp_path: Path, **files: str) -> plain.SplitText:
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return plain.load(tmp_path)


def test_files_named_after_splits_are_those(tmp_path: Path) -> None:
    text = load(tmp_path, wiki_train="a\n", **{"wiki-valid": "b\n", "wiki.test": "c\n"})
    assert (text.train, text.validation, text.test) == ("a\n", "b\n", "c\n")
    assert not text.report.warnings


def test_one_file_is_cut_at_line_ends(tmp_path: Path) -> None:
    text = load(tmp_path, story=LINES)
    assert text.train + text.validation + text.test == LINES
    assert all(part.endswith("\n") for part in (text.train, text.validation, text.test))
    assert len(text.test) == pytest.approx(0.1 * len(LINES), abs=20)
    assert text.report.places["split without a file of its own, cut"] == [
        "test from train",
        "validation from train",
    ]


def test_without_training_text_the_validation_file_gives_it(tmp_path: Path) -> None:
    text = load(tmp_path, valid=LINES, test="t\n")
    assert text.train + text.validation == LINES
    assert text.test == "t\n"
    assert len(text.train) > 8 * len(text.validation)
    assert text.report.places["split without a file of its own, cut"] == ["train from validation"]


def test_empty_files_and_files_of_no_split_are_counted(tmp_path: Path) -> None:
    text = load(tmp_path, train=LINES, test="t\n", valid=" \n", notes="x\n")
    assert text.report.warnings == {
        "empty file": 1,
        "file not named after a split, left out": 1,
        "split without a file of its own, cut": 1,
    }
    assert plain.SplitText.unpack(text.pack()) == text


def test_a_directory_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.txt file"):
        plain.find(tmp_path)
