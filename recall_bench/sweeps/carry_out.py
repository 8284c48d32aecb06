"""Carries out all runs of a sweep.

Any number of sweeps, on this machine or others, may work on one store at a time. Claims divide the
runs among them, and each sweep ends once all of its runs are done.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from recall_bench.config import RunConfig
from recall_bench.store.record import TrainingRecord
from recall_bench.store.runs import ResultStore, fingerprint
from recall_bench.sweeps.local import LocalExecutor
from recall_bench.sweeps.view import Board, View, default_view
from recall_bench.sweeps.worker import Ended, Event, Skipped

POLL = 1.0
"""Seconds between checks of runs that another process holds."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a sweep."""

    total: int
    before: int
    """Runs done before the sweep began; the counts below include them."""
    finished: int
    diverged: int
    failed: list[TrainingRecord]
    seconds: float


def run_sweep(
    configs: Sequence[RunConfig],
    store: ResultStore,
    executor: LocalExecutor,
    *,
    retry_failed: bool = False,
    view: View | None = None,
) -> Summary:
    """Carry out every run that is not done, and wait for those of other processes.

    Finished and diverged runs count as done; so do failed ones unless ``retry_failed``, which
    repeats those that have failed by now and none that another sweep repeats meanwhile. Raises
    `UserError` before anything runs if a run cannot be built or the store cannot be written, and
    `KeyboardInterrupt` once the checkpoints are written and the claims released.
    """
    board = Board(configs)
    pending, retry = [], {}
    for config in board.configs.values():
        record = store.trained(config.run_id)
        if record is None:
            pending.append(config)
        elif retry_failed and record.status == "failed":
            pending.append(config)
            retry[config.run_id] = fingerprint(record)
        else:
            board.apply(Ended(config.run_id, record))
    before = len(board.records)
    board.processes = executor.settle_processes(len(pending))
    board.begin()
    view = view or default_view()
    with view.showing(board), executor:
        try:
            for message in executor.check(pending, store):
                view.note(message)
            store.prepare()
            _carry_out(pending, store, executor, retry, board, view)
        except KeyboardInterrupt:
            view.note(
                "Stopping once the checkpoints are written; press Ctrl-C again to stop now. "
                "The same command continues from there."
            )
            raise
    ended = list(board.records.values())
    return Summary(
        total=len(board.configs),
        before=before,
        finished=sum(record.status == "finished" for record in ended),
        diverged=sum(record.status == "diverged" for record in ended),
        failed=[record for record in ended if record.status == "failed"],
        seconds=board.elapsed(),
    )


def _carry_out(
    pending: list[RunConfig],
    store: ResultStore,
    executor: LocalExecutor,
    retry: dict[str, str],
    board: Board,
    view: View,
) -> None:
    def show(event: Event) -> None:
        if isinstance(event, Skipped) and (record := store.trained(event.run_id)):
            event = Ended(event.run_id, record)
        board.apply(event)
        view.show(event)

    while pending:
        for event in executor.run(pending, store, retry):
            show(event)
        retry = {}
        pending = []
        for run_id in board.elsewhere:
            view.note(f"Waiting for {board.name(run_id)}: {store.holder(run_id)} works on it.")
        while board.elsewhere and not pending:
            time.sleep(POLL)
            for run_id in list(board.elsewhere):
                show(Skipped(run_id))
                if run_id in board.elsewhere and not store.held(run_id):
                    pending.append(board.configs[run_id])
