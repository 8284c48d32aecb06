"""Pages and paragraphs of real data sets, read by eye and written down; skipped without them."""

import tarfile
from pathlib import Path

import pytest
from document_data import shared

from recall_bench.documents import plain, squad, swde
from recall_bench.documents.corpus import Corpus
from recall_bench.documents.locate import fold

PAGES = {"booksamillion": "0000", "christianbook": "0001"}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """One page of each site of SWDE (books, 2 sites), with the ground truth of all."""
    archive, root = shared("swde-books.tar.xz"), tmp_path_factory.mktemp("books")
    wanted = {f"testset/book/book-{site}-2000/{page}.htm" for site, page in PAGES.items()}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in wanted or (name.startswith("groundtruth/") and name.endswith(".txt")):
                tar.extract(member, root, filter="data")
                wanted.discard(name)
    assert not wanted
    return swde.load(root)


def asked(corpus: Corpus, site: str) -> tuple[str, dict[str, str]]:
    """The text of the page of a site, and its answers by key."""
    (number,) = (n for n, page in enumerate(corpus.documents) if page.site == f"book-{site}")
    questions = [question for question in corpus.questions if question.document == number]
    return corpus.documents[number].text, {q.key: q.answer for q in questions}


def test_a_page_of_booksamillion(books: Corpus) -> None:
    text, answers = asked(books, "booksamillion")
    assert text.startswith(
        "The Short Second Life of Bree Tanner - An Eclipse Novella by Stephenie Meyer (Hardcover): "
        "booksamillion.com\nSkip to Content\nSkip to Search\n"
    )
    assert (
        "66 Ratings\nISBN-13: 9780316125581\nISBN-10: 031612558X\n"
        "Publisher: Hachette Book Group\nDate: June 2010\nPage Count: 192\n"
    ) in text
    assert text.endswith("Designed by Happy Cog\nEntertainment data provided by Muze®")
    assert answers == {
        "title": "The Short Second Life of Bree Tanner - An Eclipse Novella",
        "author": "Stephenie Meyer",
        "isbn 13": "9780316125581",
        "publisher": "Hachette Book Group",
        "publication date": "June 2010",
    }


def test_a_page_of_christianbook(books: Corpus) -> None:
    text, answers = asked(books, "christianbook")
    assert text.startswith("How to Pray: The Best of John Wesley on Prayer: John Wesley: 97816026")
    assert (
        "Product Information\nFormat: Paperback\nNumber of Pages: 96\nVendor: Value Books\n"
        "Publication Date: 2008\nDimensions: 6.88 X 4.19 (inches)\nISBN: 1602600147\n"
        "ISBN-13: 9781602600140\n"
    ) in text
    assert answers == {
        "title": "How to Pray: The Best of John Wesley on Prayer",
        "author": "John Wesley",
        "isbn 13": "9781602600140",
        "publisher": "Value Books",
        "publication date": "2008",
    }


def test_prompts_have_the_published_form_and_pages_that_are_missing_are_counted(
    books: Corpus,
) -> None:
    assert {question.ending for question in books.questions} == {
        f". {key}:" for key in ("title", "author", "isbn 13", "publisher", "publication date")
    }
    for question in books.questions:
        text = books.documents[question.document].text
        for start, stop in question.ranges:
            assert fold(" ".join(text[start:stop].split())).lower() == fold(question.answer).lower()
    assert books.report.warnings["ground truth for a page that is not there"] == 2 * 5 * 1999


def test_a_paragraph_of_squad() -> None:
    """SQuAD (XQuAD-en subset): the first paragraph."""
    corpus = squad.load(shared("xquad.en.json"))
    assert corpus.documents[0].text.startswith(
        "The Panthers defense gave up just 308 points, ranking sixth in the league, while also"
    )
    first = [(q.ending, q.answer) for q in corpus.questions if q.document == 0]
    assert first[:2] == [
        ("\nThe Panthers defense gave up just", "308"),
        (
            "\nThe Panthers line also featured veteran defensive end Jared Allen, a 5-time pro "
            "bowler who was the NFL's active career sack leader with",
            "136",
        ),
    ]
    counts = corpus.report.counts
    skipped = counts["answers within the first 3 words of their sentence"]
    assert (counts["paragraphs"], counts["questions"] + skipped) == (240, 1190)
    assert not corpus.report.warnings


def test_wikitext_trains_on_the_beginning_of_its_validation_file() -> None:
    folder = shared("wikitext-2")
    text = plain.load(folder)
    assert text.test == (Path(folder) / "test.txt").read_text()
    assert text.train + text.validation == (Path(folder) / "valid.txt").read_text()
    assert text.report.places["split without a file of its own, cut"] == ["train from validation"]
