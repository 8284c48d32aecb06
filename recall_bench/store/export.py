"""Records in one file: export from a store, read as a table, restore into a store."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recall_bench.errors import UserError
from recall_bench.store.files import explained, write_file
from recall_bench.store.runs import ResultStore, Skipped, fingerprint
from recall_bench.store.schemas import Stored, Unreadable, parse
from recall_bench.store.table import flat, table_of

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

FORMATS = (".jsonl", ".parquet")
SUFFIXES = (*FORMATS, ".jsonl.gz")
"""The suffixes of files that can be read."""


def load(path: str | Path) -> tuple["pd.DataFrame", Skipped]:
    """The rows of a store directory or an exported file, and a list of what could not be read.

    Raises `UserError` if ``path`` does not exist or is not a file that `export` writes.
    """
    path = Path(path)
    if path.is_dir():
        store = ResultStore(path)
        return store.frame(), store.skipped
    if not path.exists():
        raise UserError(f"{path} does not exist. Expected a store directory or an exported file.")
    skipped: Skipped = []
    repeated: list[str] = []
    table = table_of(_records(path, skipped, repeated))
    if repeated:
        skipped.append((path, f"{len(repeated)} of its records repeat others"))
    return table, skipped


def export(source: "ResultStore | pd.DataFrame", file: str | Path) -> None:
    """Write records to one file: ``.jsonl``, one record per line, or ``.parquet``, the flat rows.

    Both contain the complete records, ordered by run id, and are written atomically. Raises
    `UserError` for another suffix and if the file cannot be written.
    """
    file = Path(file)
    _check_suffix(file, FORMATS)
    table = source.frame() if isinstance(source, ResultStore) else source
    table = table.sort_values("run_id", ignore_index=True)
    if file.suffix == ".jsonl":
        content = "".join(f"{record}\n" for record in table["record"]).encode()
    else:
        buffer = io.BytesIO()
        flat(table).to_parquet(buffer, index=False)
        content = buffer.getvalue()
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, content)


class Restored(NamedTuple):
    """The result of `restore`: the fate of each record of a file."""

    written: int
    present: int
    """How many runs the store had already."""
    repeated: int
    """How many records the file holds a second time."""
    skipped: Skipped


def restore(file: str | Path, store: ResultStore) -> Restored:
    """Put the records of an exported file into a store, so that a sweep can continue from them.

    A run that is already in the store keeps its record. What cannot be read is skipped and named.
    Raises `UserError` for a file that `export` does not write.
    """
    path = Path(file)
    skipped: Skipped = []
    repeated: list[str] = []
    records = list(_records(path, skipped, repeated))
    store.prepare()
    new = [one for one in records if store.find(one.record.run_id) is None]
    written = 0
    for one in new:
        directory = store.directory(one.record.run_id)
        if directory.is_symlink():  # leads out of the store
            skipped.append((directory, "a link; expected a directory"))
        elif store.held(one.record.run_id):
            skipped.append((directory, "a process is working on this run"))
        else:
            store.keep(one)
            written += 1
    return Restored(written, len(records) - len(new), len(repeated), skipped)


def _records(path: Path, skipped: Skipped, repeated: list[str]) -> Iterator[Stored]:
    """The records of an exported file, each run once.

    Adds what could not be read to ``skipped``, and the runs of equal records to ``repeated``.
    """
    _check_suffix(path, SUFFIXES)
    seen: dict[str, str] = {}
    for number, text in enumerate(_exported(path), start=1):
        try:
            one = parse(text)
        except Unreadable as error:
            skipped.append((path, f"record {number}: {error}"))
            continue
        run_id, digest = one.record.run_id, fingerprint(one.record)
        if run_id not in seen:
            seen[run_id] = digest
            yield one
        elif seen[run_id] == digest:
            repeated.append(run_id)
        else:
            reason = f"it repeats run {run_id} with another outcome; the first counts"
            skipped.append((path, f"record {number}: {reason}"))


def _exported(path: Path) -> Iterator[str | bytes]:
    if path.suffix != ".parquet":
        lines = _text(path).split(b"\n")
        yield from (line for line in lines if line.strip())
        return
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["record"])
        yield from table["record"].to_pylist()
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path} is not an export of recall-bench: {error}.") from error


def _text(path: Path) -> bytes:
    """The content of a file of lines, unpacked, without a byte-order mark."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            content = content.decode("utf-16").encode()
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    return content.removeprefix(codecs.BOM_UTF8)


def _check_suffix(file: Path, suffixes: Sequence[str]) -> None:
    if not file.name.endswith(tuple(suffixes)):
        raise UserError(
            f"{file}: unknown suffix {file.suffix!r}. Expected one of {', '.join(suffixes)}."
        )
