"""Many runs: what a sweep consists of, and carrying it to its end.

Any number of sweeps may work on one store at a time, on this machine or others: they share the
runs out among them by claims, and each ends once all the runs that it was given are done.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from recall_bench import registry
from recall_bench.config import Component, ModelConfig, RunConfig, TrainingConfig, build, explain
from recall_bench.errors import UserError
from recall_bench.store.record import Record
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps.local import LocalExecutor
from recall_bench.sweeps.view import Board, View, default_view
from recall_bench.sweeps.worker import Ended, Event, Skipped

if TYPE_CHECKING:  # workers are not to wait for it
    import pandas as pd

Settings = TypeVar("Settings", ModelConfig, TrainingConfig)

POLL = 1.0
"""Seconds between looks at runs that another process has."""


@dataclass(frozen=True)
class Summary:
    """What a sweep came to."""

    total: int
    before: int
    """Runs that were done before the sweep began; the counts below include them."""
    finished: int
    diverged: int
    failed: list[Record]
    seconds: float


def expand(
    *,
    task: Component | Mapping[str, Any],
    architectures: Iterable[Component | Mapping[str, Any]],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    model: ModelConfig | Mapping[str, Any] | None = None,
    training: TrainingConfig | Mapping[str, Any] | None = None,
) -> list[RunConfig]:
    """Every architecture with every learning rate and seed, each run once.

    Components are given as such or as ``{"name": …, field: …}``. Every point comes with its middle
    learning rate before any comes with another, and with its first seed before its second, so that
    a sweep that is cut off has covered all points. Raises `UserError` for a value out of range.
    """
    points = [_component(registry.architectures, point) for point in architectures]
    task = _component(registry.tasks, task)
    backbone = _settings(ModelConfig, model or {})
    recipe = dict(_settings(TrainingConfig, training or {}))
    recipes = [
        _settings(TrainingConfig, recipe | {"learning_rate": rate})
        for rate in _from_the_middle(learning_rates)
    ]
    runs = [
        RunConfig(task=task, architecture=point, model=backbone, training=recipe, seed=seed)
        for seed in seeds
        for recipe in recipes
        for point in points
    ]
    return list({run.run_id: run for run in runs}.values())


def first_seed(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs with the seed that comes first."""
    return [config for config in configs if config.seed == configs[0].seed]


def at_best_rates(configs: Sequence[RunConfig], done: "pd.DataFrame") -> list[RunConfig]:
    """The runs of the first seed, and the others at the rates that it chose on validation.

    ``done`` is the table of runs, with those of the first seed.
    """
    from recall_bench.frontier.points import points

    first = first_seed(configs)
    table = points(done[done["run_id"].isin({config.run_id for config in first})])
    chosen = {run_id for ids in table["run_ids"] for run_id in ids}
    best = {_but_seed(config) for config in first if config.run_id in chosen}
    return [config for config in configs if config in first or _but_seed(config) in best]


def _but_seed(config: RunConfig) -> str:
    return config.model_dump_json(exclude={"seed"})


def run_sweep(
    configs: Sequence[RunConfig],
    store: ResultStore,
    executor: LocalExecutor,
    *,
    retry_failed: bool = False,
    view: View | None = None,
) -> Summary:
    """Do every run that is not done, and wait for those that another process is doing.

    Runs that finished or diverged are done, and failed ones are unless ``retry_failed``. Raises
    `UserError` before anything runs where a run cannot be built or the store not be written, and
    `KeyboardInterrupt` once the checkpoints are written and the claims released.
    """
    board = Board(configs)
    pending = []
    for config in board.configs.values():
        record = store.find(config.run_id)
        if record is None or (retry_failed and record.status == "failed"):
            pending.append(config)
        else:
            board.apply(Ended(config.run_id, record))
    before = len(board.records)
    board.processes = executor.share_out(len(pending))
    board.begin()
    view = view or default_view()
    with view.showing(board), executor:
        try:
            for message in executor.check(pending, store):
                view.note(message)
            store.prepare()
            _carry_out(pending, store, executor, retry_failed, board, view)
        except KeyboardInterrupt:
            view.note(
                "Stopping once the checkpoints are written; Ctrl-C again stops at once. "
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
    retry_failed: bool,
    board: Board,
    view: View,
) -> None:
    def show(event: Event) -> None:
        if isinstance(event, Skipped) and (record := store.find(event.run_id)):
            event = Ended(event.run_id, record)
        board.apply(event)
        view.show(event)

    while pending:
        for event in executor.run(pending, store, retry_failed):
            show(event)
        retry_failed = False
        pending = []
        while board.elsewhere and not pending:
            time.sleep(POLL)
            for run_id in list(board.elsewhere):
                show(Skipped(run_id))
                if run_id in board.elsewhere and not store.held(run_id):
                    pending.append(board.configs[run_id])


def _component(kind: registry.Registry, value: Component | Mapping[str, Any]) -> Any:
    return build(kind, dict(value) if isinstance(value, Mapping) else value)


def _settings(model: type[Settings], values: Settings | Mapping[str, Any]) -> Settings:
    if not isinstance(values, Mapping):
        return values
    try:
        return model(**values)
    except ValidationError as error:
        raise UserError(explain(error, model)) from error


def _from_the_middle(values: Sequence[float]) -> list[float]:
    """The values in order, the middle ones first: [1, 2, 3] -> [2, 1, 3]."""
    ordered = sorted(values)
    middle = (len(ordered) - 1) / 2
    return sorted(ordered, key=lambda value: abs(ordered.index(value) - middle))
