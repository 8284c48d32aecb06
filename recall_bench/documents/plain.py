"""Running text from plain files, split into training, validation and test text.

A file whose name has ``train``, ``valid``, ``val``, ``dev`` or ``test`` in it is that split, as in
WikiText. A split without a file of its own is cut from another, at the end of a line: training
text from the beginning of the validation file, else validation and test text from the end of the
training text, a tenth each. Where no file is named after a split, all are joined in the order of
their names. The report lists these cuts.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from recall_bench.documents.html import decode
from recall_bench.documents.report import LoadReport
from recall_bench.documents.source import Files
from recall_bench.documents.splits import Part

LOADER = 1
"""Increase it when the same files give other text."""

SHARE = 0.1
"""The share of a text that is cut off as another split."""

_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class SplitText:
    """The text of every split."""

    train: str
    validation: str
    test: str
    report: LoadReport = field(default_factory=LoadReport)

    def pack(self) -> bytes:
        """The text as bytes, for the cache."""
        parts = [self.train, self.validation, self.test]
        return json.dumps([parts, self.report.to_json()], ensure_ascii=False).encode()

    @staticmethod
    def unpack(packed: bytes) -> "SplitText":
        """The text that `pack` made bytes of."""
        parts, report = json.loads(packed)
        train, validation, test = parts
        return SplitText(train, validation, test, LoadReport(**report))


def find(path: Path) -> Files:
    """A text file, or the .txt files directly in a directory; raises `ValueError` for none."""
    if path.is_file():
        return {path.name: path}
    matches = {file.name: file for file in sorted(path.glob("*.txt")) if file.is_file()}
    if not matches:
        raise ValueError(f"no .txt file in {path}. Expected plain text")
    return matches


def load(path: Path) -> SplitText:
    """The text of every split; an empty file or a wrong encoding is counted in the report."""
    report = LoadReport()
    named: dict[Part, list[str]] = {}
    unnamed: list[str] = []
    for entry in sorted(path.glob("*.txt")) if path.is_dir() else ():
        if not entry.is_file():
            report.warn("not a file, left out", entry.name)
    for name, file in find(path).items():
        report.count("files")
        text, warning = decode(file.read_bytes())
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if warning:
            report.warn(f"file: {warning}", name)
        if not text.strip():
            report.warn("empty file", name)
            continue
        part = _part(name)
        (named.setdefault(part, []) if part else unnamed).append(text)
    texts = {part: "\n".join(pieces) for part, pieces in named.items()}
    if unnamed and "train" in texts:
        report.warn("file not named after a split, left out", path.name, len(unnamed))
    elif unnamed:
        texts["train"] = "\n".join(unnamed)
    whole = _complete(texts, report)
    return SplitText(whole["train"], whole["validation"], whole["test"], report)


def cut(text: str, share: float) -> tuple[str, str]:
    """A text in two, the second of about ``share`` of its characters, between two lines."""
    position = text.find("\n", int(len(text) * (1 - share))) + 1
    return (text[:position], text[position:]) if position else (text, "")


def _part(name: str) -> Part | None:
    """The split that a file's name has among its words."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_NAMES[word] for word in words if word in _NAMES), None)


def _complete(texts: dict[Part, str], report: LoadReport) -> dict[Part, str]:
    """Every split, those missing cut from others."""
    others: tuple[Part, Part] = ("validation", "test")
    for source in others:
        if "train" not in texts and source in texts:
            texts["train"], texts[source] = cut(texts[source], SHARE)
            report.warn("split without a file of its own, cut", f"train from {source}")
    for part in reversed(others):
        if part not in texts:
            texts["train"], texts[part] = cut(texts.get("train", ""), SHARE)
            report.warn("split without a file of its own, cut", f"{part} from train")
    for part, text in texts.items():
        report.count(f"characters to {part}", len(text))
    return texts
