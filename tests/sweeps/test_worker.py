import time
import warnings
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from sweep_training import PLUGIN, Interrupted, toy_record, toy_run

from recall_bench.config import RunConfig
from recall_bench.store import claims
from recall_bench.store.record import Record
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps.worker import Order, Setup, Skipped, Started, _Worker

__all__ = ["Interrupted"]  # which a worker looks for beside `train`

STOPPED: list[bool] = []


def train(config: RunConfig, *, directory: Path, stop: Callable[[], bool], **_: Any) -> Record:
    """Loses its claim to another process, and has a record all the same."""
    deadline = time.monotonic() + 3
    with claims.take(directory, timeout=0.0):
        while not stop() and time.monotonic() < deadline:
            time.sleep(0.01)
    STOPPED.append(stop())
    return toy_record(config)


def test_a_worker_that_lost_its_claim_stops_training_and_writes_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Worker, "_listen", lambda self: None)  # it ends the process
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    STOPPED.clear()
    parent, child = Pipe()
    parent.send(Setup(0, str(tmp_path), "cpu", f"{__name__}:train", (str(PLUGIN),)))
    worker = _Worker(child)
    worker.store = ResultStore(tmp_path, heartbeat=0.02)
    worker.orders.put(Order(toy_run().run_id, toy_run().model_dump_json()))
    worker.orders.put(None)
    worker.work()
    run_id = toy_run().run_id
    assert [parent.recv(), parent.recv()] == [Started(run_id), Skipped(run_id)]
    assert STOPPED == [True]
    assert worker.store.find(run_id) is None
