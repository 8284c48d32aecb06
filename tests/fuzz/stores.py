"""Stores and exports with odd records, odd files and damaged weights."""

import functools
import json
import os
from pathlib import Path
from random import Random
from typing import Any

from fuzz import odd
from fuzz.case import Case

QUICK = Path(__file__).parents[2] / "results" / "quick" / "records.jsonl"


@functools.lru_cache(maxsize=1)
def records() -> list[dict[str, Any]]:
    """A few real records of one experiment."""
    with QUICK.open() as lines:
        return [json.loads(line) for line, _ in zip(lines, range(6), strict=False)]


def make_store(draw: Random, directory: Path) -> Case:
    good, bad = draw.sample(records(), 2)
    store = directory / "runs"
    write(store, good, odd.text_of(good))
    spoil_store(draw, store, bad)
    return Case(reading(draw), works=True)


def spoil_store(draw: Random, store: Path, record: dict[str, Any]) -> None:
    spoiled = odd.spoiled(draw, record)
    name = draw.choice([record["run_id"], "folder", "x" * 200, ".hidden"])
    match draw.randrange(6):
        case 0:
            write(store, {"run_id": name}, odd.damaged(draw, odd.text_of(record)))
        case 1:
            (store / name).mkdir(exist_ok=True)
            if not (store / name / "record.json").exists():
                (store / name / "record.json").mkdir()
        case 2:
            (store / f"{name}.txt").write_bytes(odd.damaged(draw, b"a file among the runs"))
        case 3:
            (store / name).mkdir(exist_ok=True)
            (store / name / "claim.1.json").write_bytes(odd.text_of(odd.value(draw)))
        case 4 if not (store / name).exists():
            (store / name).symlink_to(draw.choice(["..", "nowhere", "../../bystander"]))
        case _:
            write(store, {"run_id": name}, odd.text_of(spoiled))


def reading(draw: Random) -> list[str]:
    return draw.choice(
        [
            ["report"],
            ["plot", "--output", "out.svg"],
            ["export", "--output", "out.jsonl"],
            ["export", "--output", "out.parquet"],
        ]
    )


def make_export(draw: Random, directory: Path) -> Case:
    chosen = draw.sample(records(), 3)
    lines = [odd.text_of(record) for record in chosen]
    spoiled = odd.spoiled(draw, chosen[0])
    match draw.randrange(5):
        case 0:
            spoiled = {**chosen[0], "run_id": draw.choice(["../../evil", "/tmp/evil", "..", "."])}
            lines[0] = odd.text_of(spoiled)
        case 1:
            lines.append(lines[0])
        case 2:
            lines = [odd.damaged(draw, b"\n".join(lines))]
        case _:
            lines[0] = odd.text_of(spoiled)
    suffix = draw.choice([".jsonl", ".jsonl", ".jsonl", ".jsonl.gz", ".parquet", ".txt"])
    (directory / f"export{suffix}").write_bytes(b"\n".join(lines) + b"\n")
    if draw.random() < 0.5:
        return Case(["import", f"export{suffix}"])
    return Case([*reading(draw), "--store", f"export{suffix}"])


def write(store: Path, record: dict[str, Any], content: bytes) -> None:
    folder = store / record["run_id"]
    folder.mkdir(parents=True, exist_ok=True)
    if not os.path.isdir(folder / "record.json"):
        (folder / "record.json").write_bytes(content)
