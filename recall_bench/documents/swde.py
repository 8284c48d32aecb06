"""SWDE, the structured web data extraction data set, as its users have it on disk.

Hao et al., "From one tree to a forest" (SIGIR 2011): ``VERTICAL/SITE(NNN)/NNNN.htm`` and
``groundtruth/VERTICAL/SITE-ATTRIBUTE.txt``. Copies differ in what lies above that and write
``SITE-NNN`` for ``SITE(NNN)``; both are read wherever they lie below the directory given.

A ground-truth file starts with a byte-order mark, a header line (vertical, site, attribute) and a
line of counts; then comes ``page<TAB>number of values<TAB>value<TAB>…`` for every page.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from recall_bench.documents.corpus import Corpus, Document, Question, key_ending
from recall_bench.documents.html import decode, to_text
from recall_bench.documents.locate import ranges_of, tidy
from recall_bench.documents.report import LoadReport, unicode_of
from recall_bench.documents.source import Files

LOADER = 1
"""Increase it when the same files give other documents or questions."""

TRUTH = "groundtruth"
COUNT = re.compile(r"\d{1,9}")
_SITE = re.compile(r"(?P<site>.+?)(?:\((?P<official>\d+)\)|-(?P<pages>\d+))$")


def find(path: Path) -> Files:
    """Pages and ground-truth files below a directory, by ``VERTICAL/SITE/page`` and so on.

    Raises `ValueError` where there are no pages or there is no ground truth.
    """
    files: Files = {}
    for folder, below, names in os.walk(path):
        below.sort()
        here = Path(folder)
        match = _SITE.fullmatch(here.name)
        in_truth = TRUTH in here.relative_to(path.parent).parts
        for name in sorted(names):
            if not (here / name).is_file():
                continue
            if in_truth and name.endswith(".txt"):
                files[f"{TRUTH}/{here.name}/{name}"] = here / name
            elif match and not in_truth and name.endswith((".htm", ".html")):
                files[f"{here.parent.name}/{here.name}/{name}"] = here / name
    pages = sum(not name.startswith(f"{TRUTH}/") for name in files)
    if not pages or pages == len(files):
        missing = "pages VERTICAL/SITE(NNN)/NNNN.htm" if not pages else f"{TRUTH}/VERTICAL/*.txt"
        raise ValueError(
            f"no {missing} below {path}. Expected the directory of SWDE that holds both "
            f"the verticals and {TRUTH}"
        )
    return files


def load(path: Path) -> Corpus:
    """Every page that has a question, and a report of everything unusable."""
    files = find(path)
    report = LoadReport()
    documents: list[Document] = []
    questions: list[Question] = []
    truth_of = {
        name.removeprefix(f"{TRUTH}/").removesuffix(".txt"): file
        for name, file in files.items()
        if name.startswith(f"{TRUTH}/")
    }
    for vertical, folder, pages in _sites(files):
        match = _SITE.fullmatch(folder)
        assert match is not None
        site = match["site"]
        report.count("sites")
        announced = int(match["official"] or match["pages"])
        if announced != len(pages):
            report.warn("number of pages is not what the directory's name says", folder)
        prefix = f"{vertical}/{site}-"
        truth = {
            name.removeprefix(prefix): read_truth(file, report)
            for name, file in sorted(truth_of.items())
            if name.startswith(prefix) and "-" not in name.removeprefix(prefix)
        }
        if not truth:
            report.warn("site without ground truth, its pages left out", folder, len(pages))
            continue
        for page, file in pages.items():
            where = f"{folder}/{file.name}"
            text = _read_page(file, where, report)
            if text is None:
                continue
            number = len(documents)
            asked = list(_ask(number, page, text, truth, site, where, report))
            if asked:
                documents.append(Document(unicode_of(where), unicode_of(site), text))
                questions += asked
        for attribute, values in truth.items():
            for page in sorted(values.keys() - pages.keys()):
                report.warn(
                    "ground truth for a page that is not there", f"{site} {attribute} {page}"
                )
    report.count("pages with questions", len(documents))
    report.count("questions", len(questions))
    return Corpus(documents, questions, report)


def read_truth(file: Path, report: LoadReport) -> dict[str, list[str]]:
    """Values by page of one ground-truth file, empty if the page lacks the attribute."""
    text, warning = decode(file.read_bytes())
    if warning:
        report.warn(f"ground truth: {warning}", file.name)
    lines = text.replace("\r", "").split("\n")
    values: dict[str, list[str]] = {}
    for number, line in enumerate(lines[2:], 3):
        if not line.strip():
            continue
        page, *rest = line.split("\t")
        where = f"{file.name}:{number}"
        if not page.isdecimal() or not rest or not COUNT.fullmatch(rest[0]):
            report.warn("line of ground truth that cannot be read", where)
            continue
        if page in values:
            report.warn("page listed twice in the ground truth, the first counts", where)
            continue
        texts = [tidy(value) for value in rest[1:] if value.strip() not in ("", "<NULL>")]
        if int(rest[0]) != len(texts):
            report.warn("number of values is not what the line says", where)
        values[page] = [value for value in texts if value]
    return values


def _sites(files: Files) -> Iterator[tuple[str, str, dict[str, Path]]]:
    """(vertical, directory of the site, its pages by number), in order."""
    sites: dict[tuple[str, str], dict[str, Path]] = {}
    for name, path in sorted(files.items()):
        vertical, folder, page = name.split("/")
        if vertical != TRUTH:
            sites.setdefault((vertical, folder), {})[page.partition(".")[0]] = path
    for (vertical, folder), pages in sites.items():
        yield vertical, folder, pages


def _read_page(file: Path, where: str, report: LoadReport) -> str | None:
    """The text of a page; None if it has none."""
    report.count("pages")
    raw = file.read_bytes()
    if not raw.strip():
        report.warn("empty page", where)
        return None
    html, warning = decode(raw)
    if warning:
        report.warn(f"page: {warning}", where)
    text = to_text(html)
    if not text:
        report.warn("page without text", where)
        return None
    return text


def _ask(
    document: int,
    page: str,
    text: str,
    truth: dict[str, dict[str, list[str]]],
    site: str,
    where: str,
    report: LoadReport,
) -> Iterator[Question]:
    """The questions about a page; of several values, the first that occurs in the text counts."""
    for attribute, values in truth.items():
        if page not in values:
            report.warn(f"page missing in the ground truth of {site} {attribute}", where)
            continue
        if not values[page]:
            report.count("attributes without a value")
            continue
        if len(values[page]) > 1:
            report.count("attributes with several values")
        places = next(filter(None, (ranges_of(value, text) for value in values[page])), None)
        if places is None:
            report.warn(f"value not in the text of the page: {site} {attribute}", where)
            continue
        start, stop = places[0]
        key = unicode_of(attribute.replace("_", " "))
        answer = " ".join(text[start:stop].split())
        yield Question(document, key, key_ending(key), answer, places)
