"""The result store: one directory per run, whose record is written last and atomically.

    <store>/<run_id>/config.json      the configuration
                     checkpoint.pt    the state of training; removed once the run is finished
                     claim.<n>.json   the process that works on it (see `recall_bench.store.claims`)
                     record.json      the outcome; its existence means finished

Readers skip what they cannot read, list it, and never delete.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from recall_bench.config import RunConfig, short_hash
from recall_bench.errors import UserError
from recall_bench.store import claims
from recall_bench.store.claims import Claim
from recall_bench.store.files import explained, write_file
from recall_bench.store.record import Record, Status, TrainingRecord
from recall_bench.store.schemas import Stored, Unreadable, parse, pretty, stored
from recall_bench.store.table import table_of

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

RECORD, CONFIG, CHECKPOINT = "record.json", "config.json", "checkpoint.pt"

Skipped: TypeAlias = list[tuple[Path, str]]
"""Paths that a reader could not read, and the reasons."""


class ResultStore:
    """The runs under one directory, shared by any number of processes and machines.

    Raises `UserError` where ``path`` is a file. Nothing is written before it is needed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        timeout: float = claims.TIMEOUT,
        heartbeat: float = claims.HEARTBEAT,
    ):
        self.path = Path(path)
        self.skipped: Skipped = []
        """The entries that the last call of `finished`, `records` or `frame` could not read."""
        self._timeout, self._heartbeat = timeout, heartbeat
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"The store {self.path} is a file; expected a directory.")

    def prepare(self) -> None:
        """Create the directory and test that it is writable; raises `StoreError` if it is not."""
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()

    def directory(self, run_id: str) -> Path:
        """The directory of one run, which need not exist."""
        return self.path / run_id

    def find(self, run_id: str) -> Record | None:
        """The record of one run; None if there is none or it cannot be read."""
        try:
            return _read(self.directory(run_id)).record
        except (Unreadable, OSError, ValueError):  # ValueError: a name with NUL
            return None

    def trained(self, run_id: str) -> TrainingRecord | None:
        """The record of one training; None if there is none or it cannot be read."""
        record = self.find(run_id)
        return record if isinstance(record, TrainingRecord) else None

    def finished(self) -> dict[str, Status]:
        """The status of every run that has a readable record, by run id."""
        return {record.run_id: record.status for record, _ in self._scan()}

    def read(self, run_id: str) -> Record:
        """The record of one run; raises `UserError` if there is none or it cannot be read."""
        try:
            return _read(self.directory(run_id)).record
        except FileNotFoundError:
            raise UserError(f"The store {self.path} has no record of run '{run_id}'.") from None
        except (Unreadable, OSError, ValueError) as error:
            raise UserError(f"{self.directory(run_id) / RECORD}: {error}.") from error

    def records(self) -> list[Record]:
        """All records that can be read, by run id; `skipped` lists the others."""
        return [record for record, _ in self._scan()]

    def frame(self) -> "pd.DataFrame":
        """One row (`store.table`) per record, by run id; `skipped` lists what could not be read."""
        return table_of(self._scan())

    def claim(self, config: RunConfig, retry: str | None = None) -> Claim | None:
        """Claim a run exclusively; None if it is finished or another process holds it.

        A failed run counts as finished unless ``retry`` is the `fingerprint` of its record, so that
        nobody repeats what another sweep has retried meanwhile. An earlier record that does not
        count is renamed to ``aside.<n>.json``. Raises `StoreError`.
        """
        directory = self.directory(config.run_id)
        if self._settled(config.run_id, retry):
            return None
        with explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
            claim = claims.take(directory, self._timeout, self._heartbeat)
            if claim is None:
                return None
            try:
                if self._settled(config.run_id, retry):
                    claim.withdraw()
                    return None
                _set_aside(directory)
                if not (directory / CONFIG).exists():
                    text = config.model_dump_json(indent=2) + "\n"
                    write_file(directory / CONFIG, text.encode())
            except BaseException:
                claim.release()
                raise
            return claim

    def held(self, run_id: str) -> bool:
        """Whether a process is working on a run now."""
        return claims.held(self.directory(run_id), self._timeout)

    def holder(self, run_id: str) -> str:
        """The process that works on a run now, its host, and since when."""
        return claims.holder(self.directory(run_id))

    def write(self, record: Record, claim: Claim | None = None) -> bool:
        """Finish a run: its record is on disk when this returns. Raises `StoreError`.

        Then remove the checkpoint, the claims and the remains of interrupted writes. Writes nothing
        and returns False if ``claim`` no longer holds the run, which another process continues.
        """
        return self.keep(stored(record), claim)

    def keep(self, finished: Stored, claim: Claim | None = None) -> bool:
        """Finish a run as `write` does, with a record whose stored JSON is kept unchanged."""
        directory = self.directory(finished.record.run_id)
        with explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
            if claim and not claim.current():
                return False
            write_file(directory / RECORD, pretty(finished.text))
            (directory / CHECKPOINT).unlink(missing_ok=True)
            for remains in directory.glob("*.tmp"):
                remains.unlink(missing_ok=True)
            claims.remove(directory)
        return True

    def _settled(self, run_id: str, retry: str | None) -> bool:
        record = self.trained(run_id)
        return record is not None and not (
            record.status == "failed" and retry == fingerprint(record)
        )

    def _scan(self) -> Iterator[Stored]:
        self.skipped = []
        try:
            entries = sorted(self.path.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"Cannot read the store {self.path}: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                yield _read(entry)
            except FileNotFoundError:
                if not (entry / CONFIG).exists() and not claims.numbers(entry):
                    self.skipped.append((entry, f"not a run: it has no {RECORD}"))
            except NotADirectoryError:
                self.skipped.append((entry, "not a run: expected a directory"))
            except Unreadable as error:
                self.skipped.append((entry / RECORD, str(error)))
            except OSError as error:
                self.skipped.append((entry, error.strerror or str(error)))


def fingerprint(record: Record) -> str:
    """Tells two records of one run apart."""
    return short_hash(stored(record).text)


def _read(directory: Path) -> Stored:
    """The record in a run's directory; raises `OSError`, or `Unreadable` with the reason."""
    file = directory / RECORD
    if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for ever
        raise Unreadable("expected a file")
    content = parse(file.read_bytes())
    if content.record.run_id != directory.name:
        raise Unreadable(f"it is the record of run '{content.record.run_id}', not of its directory")
    return content


def _set_aside(directory: Path) -> None:
    """Rename a record that does not count, if there is one, to make room for a new one."""
    number = 1 + len(list(directory.glob("aside.*.json")))
    with contextlib.suppress(FileNotFoundError):
        os.rename(directory / RECORD, directory / f"aside.{number}.json")
