"""SQuAD files, SWDE folders, plain text and ready prompts, each with something odd in it."""

import json
from pathlib import Path
from random import Random
from typing import Any

from fuzz import odd
from fuzz.case import Case

CONTEXT = "Rice grows in town {n}. The fields of town {n} feed {n}00 people. Nobody knows why."
BYTES = ["--tokenizer", "bytes", "--preset", "smoke"]


LINES = ["", "\t", "x", "0000", f"9999\t{'9' * 5000}\tx", "²\t²\tx", "0000\t-1\tx", "\x00"]


def paragraph(n: int) -> dict[str, Any]:
    context = CONTEXT.format(n=n)
    answer = {"text": f"{n}00 people", "answer_start": context.index(f"{n}00 people")}
    entry = {"id": str(n), "question": f"How many of {n}?", "answers": [answer]}
    return {"context": context, "qas": [entry]}


def squad() -> dict[str, Any]:
    groups = (range(start, start + 10) for start in range(1, 60, 10))
    return {
        "data": [{"title": f"t{g[0]}", "paragraphs": [paragraph(n) for n in g]} for g in groups]
    }


def make(draw: Random, directory: Path) -> Case:
    return draw.choice([squad_file, squad_file, rows_file, swde_folder, text_file])(draw, directory)


def squad_file(draw: Random, directory: Path) -> Case:
    content = squad()
    at = draw.randrange(len(content["data"]))
    content["data"][at] = odd.spoiled(draw, {"here": content["data"][at]}).get("here")
    raw, works = odd.text_of(content), True
    if draw.random() < 0.2:
        raw, works = odd.damaged(draw, raw), False
    (directory / "data").mkdir()
    (directory / "data" / "squad.json").write_bytes(raw)
    works &= not spoil_folder(draw, directory / "data", ".json")
    form = draw.choice(["cloze", "question"])
    return Case(["show", "squad", "--data", "data", "--form", form, *BYTES], works)


def rows_file(draw: Random, directory: Path) -> Case:
    rows: list[Any] = []
    for n in range(1, 61):
        one = paragraph(n)
        rows.append({"text": f"{one['context']} Here live\u2028", "value": f"{n}00 people"})
    for _ in range(draw.randrange(1, 4)):
        rows[draw.randrange(60)] = odd.spoiled(draw, {"row": rows[draw.randrange(60)]})
    escaped = draw.random() < 0.5
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    raw = "\n".join(lines).encode("utf-8", "replace")
    (directory / "rows.jsonl").write_bytes(raw)
    return Case(["show", "squad", "--data", "rows.jsonl", *BYTES], True)


def swde_folder(draw: Random, directory: Path) -> Case:
    truth = ["film\tsite\tdirector", "40\t40\t40"]
    pages = directory / "data" / "film" / "film-site(0040)"
    pages.mkdir(parents=True)
    for n in range(40):
        (pages / f"{n:04}.htm").write_text(f"<p>Film {n}</p><p>Director: Jane Roe {n}</p>")
        truth.append(f"{n:04}\t1\tJane Roe {n}")
    at = draw.randrange(2, len(truth))
    line = truth[at]
    truth[at] = draw.choice([*LINES, f"{line}\textra", line.replace("\t", " "), line * 2])
    folder = directory / "data" / "groundtruth" / "film"
    folder.mkdir(parents=True)
    (folder / "film-site-director.txt").write_text("\n".join(truth), "utf-8")
    spoil_folder(draw, folder, ".txt")
    spoil_folder(draw, pages, ".htm")
    return Case(["show", "swde", "--data", "data", "--held-out", "nothing", *BYTES], True)


def text_file(draw: Random, directory: Path) -> Case:
    raw = b"".join(b"The cat number %d sat on the mat, and the dog.\n" % n for n in range(3000))
    (directory / "data").mkdir()
    damaged = draw.random() < 0.5
    raw = odd.damaged(draw, raw) if damaged else raw
    (directory / "data" / "train.txt").write_bytes(raw)
    spoil_folder(draw, directory / "data", ".txt")
    return Case(["show", "text", "--data", "data", "--length", "64", *BYTES])


def spoil_folder(draw: Random, folder: Path, suffix: str) -> bool:
    """Add an odd entry, perhaps; returns whether it may be refused."""
    match draw.randrange(6):
        case 0:
            (folder / f"folder{suffix}").mkdir()
        case 1:
            (folder / f"dead{suffix}").symlink_to("nowhere")
        case 2:
            (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
        case 3:
            (folder / f"empty{suffix}").write_bytes(b"")
            return True
        case 4:
            (folder / f"caf\udce9{suffix}").write_bytes(b"{}" if suffix == ".json" else b"x")
            return True
    return False
