"""Small data sets on disk, laid out as real ones are, and the shared real ones where there are."""

import json
import os
from pathlib import Path

import pytest

BOM = "\ufeff"


def shared(name: str) -> Path:
    """A file of real data; the test is skipped where there is none."""
    root = os.environ.get("RECALL_BENCH_DATA")
    if not root or not (Path(root) / name).exists():
        pytest.skip(f"RECALL_BENCH_DATA names no directory with {name}")
    return Path(root) / name


def page(title: str, maker: str, price: str) -> str:
    return (
        f"<html><head><title>{title} | Shop</title><script>var x = '{price}';</script></head><body>"
        f"<ul><li>Home<li>Cart</ul><h1>{title}</h1><p>Made by <b>{maker}</b></p>"
        f"<table><tr><td>Price:</td><td>{price}</td></tr></table></body></html>"
    )


def values(number: int) -> dict[str, str]:
    return {
        "title": f"Article {number} of {number * 7}",
        "maker": f"Maker {number * 13}",
        "price": f"${number}.{number % 90 + 10}",
    }


def write_swde(root: Path, pages: int = 40, sites: tuple[str, ...] = ("acme", "bolt")) -> Path:
    """Sites with three attributes in the official layout; page 0 of each is ``values(0)``."""
    for index, site in enumerate(sites):
        folder = root / "shop" / f"shop-{site}({pages})"
        folder.mkdir(parents=True)
        made = {f"{number:04}": values(number + 1000 * index) for number in range(pages)}
        for name, said in made.items():
            (folder / f"{name}.htm").write_text(page(**said))
        for attribute in ("title", "maker", "price"):
            write_truth(root, site, attribute, {k: [said[attribute]] for k, said in made.items()})
    return root


def write_truth(root: Path, site: str, attribute: str, said: dict[str, list[str]]) -> Path:
    """A ground-truth file: byte-order mark, header, counts, a line a page."""
    lines = [f"shop\t{site}\t{attribute}", f"{len(said)}\t0\t0\t0"]
    lines += ["\t".join([name, str(len(found)), *found]) for name, found in said.items()]
    file = root / "groundtruth" / "shop" / f"shop-{site}-{attribute}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(BOM + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return file


def write_squad(file: Path, paragraphs: int = 40) -> Path:
    """Paragraphs of three sentences, each with a question about the second."""
    said = []
    for number in range(paragraphs):
        context = f"Town {number} lies in the north. It has {number * 31} people. They grow rice."
        answer = {"text": f"{number * 31} people", "answer_start": context.index("It has ") + 7}
        question = {"id": f"q{number}", "question": f"Who lives in town {number}?"}
        said.append({"context": context, "qas": [{**question, "answers": [answer]}]})
    # Two words before the answer are too few, so that the sentence is made longer.
    text = json.dumps({"version": "1.1", "data": [{"title": "Towns", "paragraphs": said}]})
    file.write_text(text.replace("It has ", "By now it has "))
    fixed = json.loads(file.read_text())
    for paragraph in fixed["data"][0]["paragraphs"]:
        answer = paragraph["qas"][0]["answers"][0]
        answer["answer_start"] = paragraph["context"].index(answer["text"])
    file.write_text(json.dumps(fixed))
    return file
