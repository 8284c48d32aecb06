"""The record of a benchmark: rewritten after every row, complete at its end."""

import sys
from pathlib import Path
from typing import Any

from recall_bench.store.files import write_file
from recall_bench.store.record import TimingRecord, now, timing_id
from recall_bench.store.schemas import pretty, stored


def begin(bench: str, environment: dict[str, Any], machine: dict[str, Any]) -> TimingRecord:
    """A record without rows, marked as cut off until `complete`."""
    started, command = now(), " ".join(["recall-bench", *sys.argv[1:]])
    return TimingRecord(
        run_id=timing_id(bench, command, environment, started),
        status="failed",
        reason="cut off before its end",
        bench=bench,
        command=command,
        machine=machine,
        environment=environment,
        started=started,
        finished=started,
    )


def extended(record: TimingRecord, rows: list[dict[str, Any]]) -> TimingRecord:
    """The record with more rows."""
    return record.model_copy(update={"rows": [*record.rows, *rows], "finished": now()})


def complete(record: TimingRecord) -> TimingRecord:
    """The record, marked as finished."""
    return record.model_copy(update={"status": "finished", "reason": None, "finished": now()})


def write(record: TimingRecord, file: Path) -> None:
    """Write a record atomically. Raises `StoreError`."""
    write_file(file, pretty(stored(record).text))
