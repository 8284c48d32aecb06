"""The documents of the tasks: from files in the official layout, or from the hub."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.parquet

from recall_bench.config import canonical_json
from recall_bench.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".jsonl", ".json", ".parquet")
READ = ("text", "value", "key", "context", "question")
"""The columns that tasks read; `documents_hash` ignores all others."""


def local_documents(task: str, dataset: str, columns: Sequence[str], where: Path) -> "Dataset":
    """The documents of ``task`` under the directory ``where``; ``dataset`` is its name on the hub.

    Raises `UserError` that lists the places that were searched, or names what a file lacks.
    """
    from datasets import Dataset

    files, places = _find(task, dataset, where)
    if not files:
        raise UserError(
            f"No documents of {task} (the data set {dataset}) in {where}. Expected one of: "
            f"{', '.join(places)}; with the columns {', '.join(columns)}."
        )
    rows = [row for file in files for row in _read(file)]
    for number, row in enumerate(rows, start=1):
        lacking = [name for name in columns if not isinstance(row.get(name), str)]
        if lacking:
            raise UserError(
                f"{files[0]}: row {number} lacks text in the column {', '.join(lacking)}. Expected "
                f"the columns of {dataset}: {', '.join(columns)}; got {', '.join(row) or 'none'}."
            )
    if not rows:
        raise UserError(f"{files[0]} holds no documents. Expected rows as in {dataset}.")
    for kept in (None, READ):  # columns that no task reads may mix types
        try:
            return Dataset.from_list(
                [{k: v for k, v in row.items() if kept is None or k in kept} for row in rows]
            )
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            reason = _line(error)
    raise UserError(f"{files[0]}: the rows do not form a table: {reason}.")


def hub_documents(task: str, dataset: str, config: str) -> "Dataset":
    """The documents of ``task`` from the hub or its cache, as the harness itself loads them.

    Raises `UserError` that explains how to use a local copy.
    """
    import datasets

    try:
        return datasets.load_dataset(dataset, config)["validation"]
    except (OSError, ValueError) as error:  # offline, unknown to the hub, or not in its cache
        cache = datasets.config.HF_DATASETS_CACHE
        raise UserError(
            f"Cannot get the documents of {task}: the data set {dataset} is neither in the cache "
            f"{cache} nor available from the hub ({_line(error)}). Download it on a machine with a "
            f"network (`hf download {dataset} --repo-type dataset --local-dir "
            f"DIR/{dataset.partition('/')[2]}`), then pass --data DIR."
        ) from error


def documents_hash(rows: Iterable[dict[str, Any]]) -> str:
    """SHA-256, 16 digits, of the columns of documents that tasks read, in order."""
    digest = hashlib.sha256()
    for row in rows:
        read = {name: row[name] for name in READ if name in row}
        digest.update(canonical_json(read).encode() + b"\n")
    return digest.hexdigest()[:16]


def _find(task: str, dataset: str, where: Path) -> tuple[list[Path], list[str]]:
    """The files of the first place that has any, and a description of all places.

    A place is a file named after the task or data set, or a directory of that name with
    ``validation*`` files in it or in its ``data``, as in a download of the hub's repository.
    """
    names = (task, dataset.partition("/")[2], dataset)
    places = [str(where / f"{name}.jsonl") for name in names[:2]]
    places.append(str(where / names[1] / "data" / "validation-*.parquet"))
    if not where.is_dir():
        raise UserError(
            f"--data {where} is not a directory. Expected one with {' or '.join(places)}."
        )
    for name in names:
        for suffix in SUFFIXES:
            if (file := where / f"{name}{suffix}").is_file():
                return [file], places
        for folder in (where / name, where / name / "data"):
            files = sorted(f for f in folder.glob("validation*") if f.suffix in SUFFIXES)
            if files:
                return files, places
    return [], places


def _read(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; raises `UserError` if its content does not fit its suffix."""
    try:
        if file.suffix == ".parquet":
            rows = pyarrow.parquet.read_table(file).to_pylist()
        elif file.suffix == ".jsonl":
            lines = file.read_text("utf-8-sig").split("\n")
            rows = [json.loads(line) for line in lines if line.strip()]
        else:
            rows = json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError, pyarrow.ArrowException) as error:
        raise UserError(f"{file} is not a {file.suffix[1:]} file: {_line(error)}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file}: expected one object per document, with named columns.")
    return rows


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
