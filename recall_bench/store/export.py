"""Records in one file: export from a store, read as a table, restore into a store."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from recall_bench.errors import UserError
from recall_bench.store.files import explained, write_file
from recall_bench.store.runs import ResultStore, Skipped
from recall_bench.store.schemas import Stored, Unreadable, parse
from recall_bench.store.table import flat, table_of

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

FORMATS = (".jsonl", ".parquet")


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
    return table_of(_records(path, skipped)), skipped


def export(source: "ResultStore | pd.DataFrame", file: str | Path) -> None:
    """Write records to one file: ``.jsonl``, one record per line, or ``.parquet``, the flat rows.

    Both contain the complete records, ordered by run id, and are written atomically. Raises
    `UserError` for another suffix and if the file cannot be written.
    """
    file = Path(file)
    _check_suffix(file)
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


def restore(file: str | Path, store: ResultStore) -> tuple[int, int]:
    """Put the records of an exported file into a store, so that a sweep can continue from them.

    A run that is already in the store keeps its record. Returns how many records were written and
    how many the store had already. Raises `UserError` for a file that `export` does not write.
    """
    skipped: Skipped = []
    records = list(_records(Path(file), skipped))
    if skipped:
        raise UserError(f"{file} cannot be restored: {skipped[0][1]}.")
    store.prepare()
    new = [one for one in records if store.find(one.record.run_id) is None]
    for one in new:
        store.keep(one)
    return len(new), len(records) - len(new)


def _records(path: Path, skipped: Skipped) -> Iterator[Stored]:
    """The records of an exported file, each once; adds what could not be read to ``skipped``."""
    _check_suffix(path)
    seen: set[str] = set()
    for number, text in enumerate(_exported(path), start=1):
        try:
            one = parse(text)
            if one.record.run_id in seen:
                raise Unreadable(f"it repeats run {one.record.run_id}")
        except Unreadable as error:
            skipped.append((path, f"record {number}: {error}"))
            continue
        seen.add(one.record.run_id)
        yield one


def _exported(path: Path) -> Iterator[str | bytes]:
    if path.suffix == ".jsonl":
        yield from (line for line in path.read_bytes().splitlines() if line.strip())
        return
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["record"])
        yield from table["record"].to_pylist()
    except (pyarrow.ArrowInvalid, KeyError, OSError) as error:
        raise UserError(f"{path} is not an export of recall-bench: {error}.") from error


def _check_suffix(file: Path) -> None:
    if file.suffix not in FORMATS:
        raise UserError(
            f"{file}: unknown suffix {file.suffix!r}. Expected one of {', '.join(FORMATS)}."
        )
