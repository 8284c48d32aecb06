"""Where runs are kept: one directory a run, whose record is written last and atomically.

    <store>/<run_id>/config.json      what the run is
                     checkpoint.pt    where training stands; gone once the run is finished
                     claim.<n>.json   who works on it (see `recall_bench.store.claims`)
                     record.json      the outcome; its existence means finished

Readers skip and name what they cannot read, and never delete.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pydantic import ConfigDict, ValidationError

from recall_bench.config import Config, RunConfig
from recall_bench.errors import UserError
from recall_bench.store import claims
from recall_bench.store.claims import Claim
from recall_bench.store.files import explained, write_file
from recall_bench.store.record import SCHEMA, Record, Status

if TYPE_CHECKING:  # workers need no tables
    import pandas as pd

RECORD, CONFIG, CHECKPOINT = "record.json", "config.json", "checkpoint.pt"

Skipped: TypeAlias = list[tuple[Path, str]]
"""What a reader could not read, and why."""

NUMBERS = (
    "learning_rate",
    "validation_accuracy",
    "test_accuracy",
    "test_loss",
    "state_bytes",
    "parameters",
    "wall_seconds",
    "tokens_per_second",
)
"""Columns of a frame that are float64, NaN where a run has no such number."""


class Unreadable(ValueError):
    """A record that this version cannot read; the message says why."""


class _Version(Config):
    """As much of a record as every version of it has."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int


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
        """What the last call of `finished`, `records` or `frame` could not read."""
        self._timeout, self._heartbeat = timeout, heartbeat
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"The store {self.path} is a file; expected a directory.")

    def prepare(self) -> None:
        """Create the directory, and try it; raises `StoreError` where it cannot be written."""
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()

    def directory(self, run_id: str) -> Path:
        """The directory of one run, which need not exist."""
        return self.path / run_id

    def find(self, run_id: str) -> Record | None:
        """The record of one run; None where there is none that can be read."""
        try:
            return _read(self.directory(run_id))
        except (Unreadable, OSError):
            return None

    def finished(self) -> dict[str, Status]:
        """How every run that has a readable record ended, by run id."""
        return {record.run_id: record.status for record in self._scan()}

    def read(self, run_id: str) -> Record:
        """The record of one run; raises `UserError` where there is none that can be read."""
        try:
            return _read(self.directory(run_id))
        except FileNotFoundError:
            raise UserError(f"The store {self.path} has no record of run '{run_id}'.") from None
        except Unreadable as error:
            raise UserError(f"{self.directory(run_id) / RECORD}: {error}.") from error

    def records(self) -> list[Record]:
        """All records that can be read, by run id; `skipped` names the others."""
        return list(self._scan())

    def frame(self) -> "pd.DataFrame":
        """One row (`Record.row`) a record, by run id; `skipped` names what could not be read."""
        return frame(self.records())

    def claim(self, config: RunConfig, retry_failed: bool = False) -> Claim | None:
        """The exclusive right to do a run; None where it is finished or somebody else has it.

        A failed run counts as finished unless ``retry_failed``. What was recorded before and does
        not count is set aside as ``aside.<n>.json``. Raises `StoreError`.
        """
        directory = self.directory(config.run_id)
        if self._settled(config.run_id, retry_failed):
            return None
        with explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
            claim = claims.take(directory, self._timeout, self._heartbeat)
            if claim is None:
                return None
            try:
                if self._settled(config.run_id, retry_failed):
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
        """Whether some process works on a run at this moment."""
        return claims.held(self.directory(run_id), self._timeout)

    def write(self, record: Record) -> None:
        """Finish a run: its record is on the disk when this returns. Raises `StoreError`.

        Afterwards the checkpoint, the claims and the remains of interrupted writes are removed.
        """
        directory = self.directory(record.run_id)
        with explained(directory):
            directory.mkdir(parents=True, exist_ok=True)
            write_file(directory / RECORD, record.model_dump_json(indent=1).encode() + b"\n")
            (directory / CHECKPOINT).unlink(missing_ok=True)
            for remains in directory.glob("*.tmp"):
                remains.unlink(missing_ok=True)
            claims.remove(directory)

    def _settled(self, run_id: str, retry_failed: bool) -> bool:
        record = self.find(run_id)
        return record is not None and not (retry_failed and record.status == "failed")

    def _scan(self) -> Iterator[Record]:
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


def frame(records: Iterable[Record]) -> "pd.DataFrame":
    """One row a record, ordered by run id, with the same columns and types for any records."""
    import pandas as pd

    blank = Record(
        run_id="",
        status="failed",
        config={"task": {"name": ""}, "architecture": {"name": ""}, "model": {}, "seed": 0}
        | {"training": {"learning_rate": 0.0}},
        versions={"task": 0, "architecture": 0},
        started="",
        finished="",
    )
    ordered = sorted(records, key=lambda record: record.run_id)
    table = pd.DataFrame([record.row() for record in [*ordered, blank]])
    return table.astype(dict.fromkeys(NUMBERS, "float64")).iloc[:-1]


def _read(directory: Path) -> Record:
    """The record in a run's directory; raises `OSError`, or `Unreadable` with the reason."""
    found = parse((directory / RECORD).read_bytes())
    if found.run_id != directory.name:
        raise Unreadable(f"it is the record of run '{found.run_id}', not of its directory")
    return found


def parse(text: str | bytes) -> Record:
    try:
        version = _Version.model_validate_json(text).schema_version
        if version > SCHEMA:
            raise Unreadable(
                f"written by a newer recall-bench: its schema is {version}, "
                f"this version reads up to {SCHEMA}"
            )
        return Record.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise Unreadable(f"{where}: {problem['msg']}".removeprefix(": ")) from error


def _set_aside(directory: Path) -> None:
    """Make room for a new record; there is none, or one that is not to count."""
    number = 1 + len(list(directory.glob("aside.*.json")))
    with contextlib.suppress(FileNotFoundError):
        os.rename(directory / RECORD, directory / f"aside.{number}.json")
