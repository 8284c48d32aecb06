"""One worker process: claims runs, trains them, writes their records, and reports to its parent.

It carries out many runs, so that it imports torch only once. It exits as soon as its parent is
gone; a later sweep continues its run from the last checkpoint.
"""

import contextlib
import errno
import importlib
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from recall_bench import registry
from recall_bench.config import RunConfig
from recall_bench.errors import DeviceLost, UserError
from recall_bench.store.claims import Claim
from recall_bench.store.files import explained
from recall_bench.store.record import Timing, TrainingRecord, named, now
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps import building
from recall_bench.sweeps.memory import room
from recall_bench.sweeps.process_age import process_age


@dataclass(frozen=True)
class Setup:
    """The first message to a worker."""

    index: int
    store: str
    device: str
    train: str
    plugins: tuple[str, ...]
    keep_weights: bool = False


@dataclass(frozen=True)
class Order:
    """One run to carry out. The configuration is JSON, since reading it may need a plugin."""

    run_id: str
    config: str
    retry: str | None = None
    """The fingerprint of the failed record that this sweep may replace."""
    verified: str | None = None
    """The checked properties of the architecture's contract, for the record."""


@dataclass(frozen=True)
class Check:
    """Runs, as JSON, whose architectures, tasks and precisions the worker must build."""

    configs: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """The worker has built everything that a `Check` names."""


@dataclass(frozen=True)
class Started:
    """A worker has claimed the run and trains it."""

    run_id: str


@dataclass(frozen=True)
class Progressed:
    """A run has advanced; ``progress`` is a `recall_bench.training.Progress`."""

    run_id: str
    progress: Any


@dataclass(frozen=True)
class Ended:
    """The record of the run is in the store."""

    run_id: str
    record: TrainingRecord


@dataclass(frozen=True)
class Skipped:
    """The worker skipped the run: it is finished, or another process holds it."""

    run_id: str


@dataclass(frozen=True)
class Stopping:
    """The run has noticed that it must stop, and writes its checkpoint."""

    run_id: str


@dataclass(frozen=True)
class Warned:
    """A warning about a run, for the user."""

    run_id: str
    message: str


@dataclass(frozen=True)
class Broken:
    """The worker cannot continue with any run."""

    message: str
    by_user: bool

    def error(self) -> Exception:
        """The exception that the parent raises."""
        return (UserError if self.by_user else RuntimeError)(self.message)


Event = Started | Progressed | Stopping | Ended | Skipped | Warned


def main(descriptor: int) -> None:
    """Work for the parent at the other end of a socket; the entry point of the process."""
    _Worker(Connection(descriptor)).work()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # skips the teardown of torch, which takes a second


class _Worker:
    def __init__(self, parent: Connection):
        self.parent = parent
        self.setup: Setup = parent.recv()
        self.store = ResultStore(self.setup.store)
        self.orders: queue.SimpleQueue[Check | Order | None] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.run_id = ""
        self.sending = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Queue orders; None means stop. Ends the process once the parent has ended."""
        try:
            while True:
                order = self.parent.recv()
                if order is None:
                    self.stopping.set()
                self.orders.put(order)
        finally:
            os._exit(1)

    def _terminate(self) -> None:
        self.stopping.set()
        self.orders.put(None)  # wakes an idle worker

    def send(self, event: Event | Checked | Broken) -> None:
        with self.sending, contextlib.suppress(OSError):
            self.parent.send(event)

    def work(self) -> None:
        try:
            self._prepare()
            while (order := self.orders.get()) is not None and not self.stopping.is_set():
                self.send(self._check(order) if isinstance(order, Check) else self._do(order))
        except UserError as error:
            self.send(Broken(str(error), by_user=True))
        except Exception:
            self.send(Broken(traceback.format_exc(), by_user=False))

    def _stop(self, claim: Claim) -> bool:
        """Whether the run must stop; the parent then waits for its checkpoint."""
        if self.stopping.is_set():
            self.send(Stopping(self.run_id))
        return self.stopping.is_set() or claim.lost

    def _prepare(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        warnings.showwarning = lambda message, *_, **__: self.send(
            Warned(self.run_id, str(message))
        )
        for plugin in self.setup.plugins:
            registry.load_plugin(plugin)
        name, _, function = self.setup.train.partition(":")
        self.training: ModuleType = importlib.import_module(name)
        self.train: Callable[..., TrainingRecord] = getattr(self.training, function)
        self.device = _device(self.setup.device, self.setup.index)
        self.import_seconds = process_age()

    def _check(self, order: Check) -> Checked:
        configs = [RunConfig.model_validate_json(text) for text in order.configs]
        if check_device := getattr(self.training, "check_device", None):
            check_device(self.device, {config.training.precision for config in configs})
        building.check(configs, room(self.device))
        return Checked()

    def _do(self, order: Order) -> Event:
        config = RunConfig.model_validate_json(order.config)
        if config.run_id != order.run_id:
            raise UserError(
                f"The source of {config.architecture.name} or {config.task.name} changed while the "
                f"sweep ran. The same command trains with the new source."
            )
        self.run_id = config.run_id
        claim = self.store.claim(config, order.retry)
        if claim is None:
            return Skipped(config.run_id)
        with claim:
            self.send(Started(config.run_id))
            record = self._train(config, claim)
            if record is None or claim.lost:
                return Skipped(config.run_id)
            # What was trained counts, whatever the trainer's record says of it.
            timing = self._with_imports(record.timing)
            record = record.model_copy(
                update={"verified": order.verified, "timing": timing, **named(config)}
            )
            if not self.store.write(record, claim):
                return Skipped(config.run_id)
        return Ended(config.run_id, record)

    def _with_imports(self, timing: Timing | None) -> Timing | None:
        """The first run of the process bears the time that its start took."""
        if timing is None:
            return None
        seconds, self.import_seconds = self.import_seconds, None
        return timing.model_copy(update={"import_seconds": seconds})

    def _train(self, config: RunConfig, claim: Claim) -> TrainingRecord | None:
        """Train a run; returns its record, also of a failure, or None if it was told to stop.

        Ends the process if it has lost its GPU: a new process continues the run.
        """
        started = now()
        directory = self.store.directory(config.run_id)
        try:
            return self.train(
                config,
                directory=directory,
                device=self.device,
                on_progress=lambda progress: self.send(Progressed(config.run_id, progress)),
                stop=lambda: self._stop(claim),
                **({"keep": True} if self.setup.keep_weights else {}),
            )
        except DeviceLost as error:
            sys.exit(f"The GPU failed. {describe(error)}")
        except UserError:
            raise  # the device, its precision or the store is at fault, not the run
        except BaseException as error:  # a mixer may raise anything, `SystemExit` for example
            interrupted = isinstance(error, self.training.Interrupted)
            if interrupted and (self.stopping.is_set() or claim.lost):
                return None
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                with explained(directory):
                    raise
            return failed(config, started, describe(error))


def failed(config: RunConfig, started: str, reason: str) -> TrainingRecord:
    """The record of a run that failed."""
    return TrainingRecord(
        **named(config),
        status="failed",
        reason=reason,
        started=started,
        finished=now(),
    )


def describe(error: BaseException) -> str:
    """Type and message of an error, and the end of its traceback."""
    frames = "".join(traceback.format_tb(error.__traceback__)[-3:]).rstrip()
    return f"{type(error).__name__}: {error}\n{frames}"


def _device(name: str, index: int) -> str:
    """The device of worker number ``index``; the workers are spread over all GPUs."""
    if name not in ("auto", "cuda"):
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{index % count}" if count else name
