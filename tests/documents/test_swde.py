from pathlib import Path

import pytest
from document_data import page, values, write_swde, write_truth

from recall_bench.documents import swde
from recall_bench.documents.corpus import Corpus


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_swde(tmp_path / "swde", pages=5)


def folder(root: Path, site: str = "acme") -> Path:
    return root / "shop" / f"shop-{site}(5)"


def warned(root: Path) -> dict[str, int]:
    return swde.load(root).report.warnings


def test_every_page_is_asked_for_every_attribute(root: Path) -> None:
    corpus = swde.load(root)
    assert not corpus.report.warnings
    assert len(corpus.documents) == 10
    asked = {
        (corpus.documents[question.document].name, question.key): question
        for question in corpus.questions
    }
    assert len(asked) == 30
    question = asked["shop-bolt(5)/0003.htm", "price"]
    assert (question.answer, question.ending) == (values(1003)["price"], ". price:")
    text = corpus.documents[question.document].text
    assert [text[a:b] for a, b in question.ranges] == [question.answer]
    assert corpus.documents[question.document].site == "shop-bolt"


def test_sites_may_write_their_number_after_a_dash_and_lie_deeper(root: Path) -> None:
    expected = swde.load(root)
    (root / "testset").mkdir()
    (root / "shop").rename(root / "testset" / "shop")
    for site in ("acme", "bolt"):
        below = root / "testset" / "shop"
        (below / f"shop-{site}(5)").rename(below / f"shop-{site}-5")
    found = swde.load(root)
    assert [question.answer for question in found.questions] == [
        question.answer for question in expected.questions
    ]


def test_a_corpus_survives_the_cache(root: Path) -> None:
    corpus = swde.load(root)
    assert Corpus.unpack(corpus.pack()) == corpus


def test_a_page_without_the_value_is_counted(root: Path) -> None:
    (folder(root) / "0001.htm").write_text(page("Other", "Other", "$1"))
    found = warned(root)
    assert found == {
        f"value not in the text of the page: shop-acme {attribute}": 1
        for attribute in ("title", "maker", "price")
    }
    assert len(swde.load(root).documents) == 9


def test_empty_textless_and_missing_pages_are_counted(root: Path) -> None:
    (folder(root) / "0000.htm").write_bytes(b" \n")
    (folder(root) / "0001.htm").write_text("<script>only</script>")
    (folder(root) / "0002.htm").unlink()
    assert warned(root) == {
        "empty page": 1,
        "page without text": 1,
        "number of pages is not what the directory's name says": 1,
        "ground truth for a page that is not there": 3,
    }


def test_missing_ground_truth_is_counted_and_its_pages_left_out(root: Path) -> None:
    for file in (root / "groundtruth" / "shop").glob("shop-bolt-*"):
        file.unlink()
    assert warned(root) == {"site without ground truth, its pages left out": 5}
    write_truth(root, "bolt", "title", {"0000": [values(1000)["title"]]})
    assert warned(root) == {"page missing in the ground truth of shop-bolt title": 4}


def test_broken_lines_of_ground_truth_are_counted(root: Path) -> None:
    said = {f"{n:04}": [values(n)["title"]] for n in range(5)}
    file = write_truth(root, "acme", "title", said)
    with file.open("a", encoding="utf-8") as stream:
        stream.write("0003\t1\tAnother\r\nnonsense\r\n0009\tmany\tX\r\n")
    text = file.read_text(encoding="utf-8").replace("0004\t1", "0004\t2")
    file.write_text(text, encoding="utf-8")
    report = swde.load(root).report
    assert report.warnings == {
        "page listed twice in the ground truth, the first counts": 1,
        "line of ground truth that cannot be read": 2,
        "number of values is not what the line says": 1,
    }
    assert report.places["page listed twice in the ground truth, the first counts"] == [
        "shop-acme-title.txt:8"
    ]


def test_pages_and_ground_truth_in_other_encodings_are_read_and_counted(root: Path) -> None:
    (folder(root) / "0000.htm").write_bytes(page("Café", "X", "$1").encode("latin-1"))
    file = write_truth(root, "acme", "title", {f"{n:04}": ["Café"] for n in range(5)})
    file.write_bytes(file.read_text(encoding="utf-8-sig").encode("cp1252"))
    corpus = swde.load(root)
    assert "Café" in [question.answer for question in corpus.questions]
    assert corpus.report.warnings["page: no encoding, read as windows-1252"] == 1
    assert corpus.report.warnings["ground truth: no encoding, read as windows-1252"] == 1


def test_of_several_values_the_first_in_the_text_is_asked_and_none_is_no_question(
    root: Path,
) -> None:
    maker = values(0)["maker"]
    said = {"0000": ["Nobody", maker], "0001": ["<NULL>"], "0002": []}
    write_truth(root, "acme", "maker", said)
    file = root / "groundtruth" / "shop" / "shop-acme-maker.txt"
    file.write_text(file.read_text().replace("0001\t1", "0001\t0"))
    corpus = swde.load(root)
    assert corpus.report.counts["attributes with several values"] == 1
    assert corpus.report.counts["attributes without a value"] == 2
    assert maker in [question.answer for question in corpus.questions]


def test_directories_without_pages_or_ground_truth_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="no pages"):
        swde.find(root / "groundtruth")
    with pytest.raises(ValueError, match="no groundtruth"):
        swde.find(root / "shop")


def test_a_site_whose_name_begins_with_that_of_another_keeps_its_own_ground_truth(
    tmp_path: Path,
) -> None:
    corpus = swde.load(write_swde(tmp_path, pages=2, sites=("acme", "acme-uk")))
    assert not corpus.report.warnings
    assert {question.key for question in corpus.questions} == {"title", "maker", "price"}
