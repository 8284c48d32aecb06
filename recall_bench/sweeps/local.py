"""Carries out runs in worker processes on this machine, one run after another in each."""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Self

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.store.record import now
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps.building import representatives
from recall_bench.sweeps.gpu_count import count_gpus
from recall_bench.sweeps.gpu_sharing import RUNS_PER_GPU, can_share, shared_gpu
from recall_bench.sweeps.worker import (
    Broken,
    Check,
    Checked,
    Ended,
    Event,
    Order,
    Setup,
    Skipped,
    Stopping,
    Warned,
    failed,
)

GRACE = 1.0
"""Seconds in which a worker must answer that it stops; a compiler or generator may hold it."""

DEATHS = 2
"""Number of times that a run's process dies, in one sweep, before the run counts as failed."""


KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
"""Makes glibc reuse the memory of freed tensors; otherwise every step fetches it page by page."""


class LocalExecutor:
    """A pool of worker processes that share the cores; a context manager.

    ``processes`` defaults to several per GPU if processes can share a GPU, otherwise one. Without a
    GPU, or on the CPU, it defaults to one per core, or a few more if the last runs would leave
    cores idle. ``threads`` defaults to an equal share of the cores for each process.

    ``train`` names a function like `recall_bench.training.train`, as "module:function". Its module
    must define the exception `Interrupted`, which the function raises once ``stop`` returns True,
    and may define a function like `recall_bench.training.check_device`. ``keep_weights`` stores
    the weights of finished runs. ``verified`` holds the checked properties for the records, by the
    JSON of an architecture.
    """

    def __init__(
        self,
        processes: int | None = None,
        device: str = "auto",
        threads: int | None = None,
        *,
        plugins: Sequence[str | Path] = (),
        train: str = "recall_bench.training:train",
        keep_weights: bool = False,
        verified: Mapping[str, str] | None = None,
    ):
        gpus = count_gpus(device)
        self.processes = processes or gpus * (RUNS_PER_GPU if can_share() else 1) or cores()
        self._by_cores = not (processes or gpus)
        self._sharing = shared_gpu if 0 < gpus < self.processes and can_share() else None
        self._entered = contextlib.ExitStack()
        self._variables: dict[str, str] = {}
        self.device = device
        self.threads = threads or max(1, cores() // self.processes)
        self._plugins = tuple(str(Path(plugin).absolute()) for plugin in plugins)
        self._train = train
        self._keep_weights = keep_weights
        self._verified = verified or {}
        self._workers: list[_Process] = []
        self._deaths: collections.Counter[str] = collections.Counter()

    def __enter__(self) -> Self:
        if self._sharing:
            self._variables = self._entered.enter_context(self._sharing())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._entered:
            self.close()

    def settle_processes(self, runs: int) -> int:
        """Choose and return the number of processes for ``runs``, unless the caller set it."""
        if self._by_cores:
            self.processes = concurrent_runs(runs, cores())
        return self.processes

    def check(self, configs: Sequence[RunConfig], store: ResultStore) -> list[str]:
        """Let a worker build every architecture and task of the runs; returns its warnings.

        The other workers start meanwhile. Raises `UserError` if a component cannot be built, the
        device cannot be used, a plugin does not load, or the worker dies.
        """
        if not configs:
            return []
        while len(self._workers) < min(self.processes, len(configs)):
            self._start(store)
        worker, messages = self._workers[0], []
        worker.send(Check(tuple(c.model_dump_json() for c in representatives(configs))))
        while True:
            try:
                event = worker.receive()
            except (EOFError, OSError) as error:
                self._workers.remove(worker)
                raise _do_not_start(worker.end()) from error
            match event:
                case Broken():
                    raise event.error()
                case Warned(message=message):
                    messages.append(message)
                case Checked():
                    return messages

    def run(
        self,
        configs: Sequence[RunConfig],
        store: ResultStore,
        retry: Mapping[str, str] | None = None,
    ) -> Iterator[Event]:
        """Carry out the runs; yields events until each run has `Ended` or been `Skipped`.

        ``retry`` holds the fingerprints of failed records that may be replaced, by run id.

        If the process of a run dies, a new one continues the run; if that dies too, the run is
        recorded as failed. Where processes share a GPU, a crash of one takes its neighbours down,
        so each of them continues alone, once the other runs are done.

        Raises `UserError` if a plugin does not load or the store cannot be written.
        """
        waiting = collections.deque(configs)
        alone: collections.deque[RunConfig] = collections.deque()
        while True:
            self._assign(waiting, store, retry or {}, self.processes)
            if not waiting and all(worker.run is None for worker in self._workers):
                self._assign(alone, store, retry or {}, 1)
            busy = [worker for worker in self._workers if worker.run is not None]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                try:
                    event = worker.receive()
                except (EOFError, OSError):
                    again = alone if self._sharing else waiting
                    yield from self._replace_dead(worker, again, store)
                    continue
                if isinstance(event, Broken):
                    raise event.error()
                assert not isinstance(event, Checked), "`check` receives its own answers"
                if isinstance(event, Ended | Skipped):
                    worker.run = None
                if not isinstance(event, Stopping):
                    yield event

    def close(self) -> None:
        """Stop the workers once they have written their checkpoints and released their claims.

        A worker that does not answer within `GRACE` seconds is killed: a later sweep continues its
        run from the last checkpoint. `KeyboardInterrupt` during the wait kills all.
        """
        try:
            for worker in self._workers:
                worker.send(None)
            deadline = time.monotonic() + GRACE
            for worker in self._workers:
                worker.finish(deadline)
        finally:
            for worker in self._workers:
                worker.end()
            self._workers.clear()

    def _assign(
        self,
        waiting: collections.deque[RunConfig],
        store: ResultStore,
        retry: Mapping[str, str],
        most: int,
    ) -> None:
        """Give runs to idle workers, starting workers, while fewer than ``most`` have a run."""
        idle = [worker for worker in self._workers if worker.run is None]
        busy = len(self._workers) - len(idle)
        while waiting and busy < most:
            worker = idle.pop() if idle else self._start(store)
            config = waiting.popleft()
            verified = self._verified.get(config.architecture.model_dump_json())
            worker.take(config, retry.get(config.run_id), verified)
            busy += 1

    def _start(self, store: ResultStore) -> "_Process":
        taken = {worker.index for worker in self._workers}
        index = next(number for number in range(self.processes) if number not in taken)
        worker = _Process(index, self.threads, self._variables)
        self._workers.append(worker)
        path = str(store.path.absolute())
        worker.send(Setup(index, path, self.device, self._train, self._plugins, self._keep_weights))
        return worker

    def _replace_dead(
        self, worker: "_Process", waiting: collections.deque[RunConfig], store: ResultStore
    ) -> Iterator[Event]:
        """Queue the run of a dead worker again, or record the run as failed."""
        self._workers.remove(worker)
        config, cause = worker.run, worker.end()
        assert config is not None
        if self._sharing:  # idle neighbours lost their GPU as well, and would fail their next run
            for idle in [other for other in self._workers if other.run is None]:
                self._workers.remove(idle)
                idle.end()
        self._deaths[config.run_id] += 1
        if self._deaths[config.run_id] < DEATHS:
            waiting.appendleft(config)
            yield Warned(config.run_id, f"The process {cause} A new one continues the run.")
            return
        if not worker.responded:
            raise _do_not_start(cause)
        claim = store.claim(config)
        if claim is None:
            yield Skipped(config.run_id)
            return
        with claim:
            record = failed(config, now(), f"its process died {DEATHS} times: it {cause}")
            written = store.write(record, claim)
        yield Ended(config.run_id, record) if written else Skipped(config.run_id)


class _Process:
    """The parent's handle of a worker process."""

    def __init__(self, index: int, threads: int, variables: Mapping[str, str]):
        self.index = index
        self.run: RunConfig | None = None
        self.responded = False
        self.connection, theirs = Pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115, closed by end()
        count = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        path = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
        command = f"from recall_bench.sweeps.worker import main; main({theirs.fileno()})"
        # Ctrl-C reaches every process of the terminal, but only the parent should handle it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", command],
                env={**KEEP_FREED_MEMORY, **os.environ, **count, **path, **variables},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
            )
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, message: Setup | Check | Order | None) -> None:
        """Send a message; if the process is gone, the next `receive` raises."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Event | Checked | Broken:
        """Wait for the next message; raises `EOFError` or `OSError` once the process is gone."""
        event: Event | Checked | Broken = self.connection.recv()
        self.responded = True
        return event

    def take(self, config: RunConfig, retry: str | None, verified: str | None) -> None:
        """Start a run."""
        self.run = config
        self.send(Order(config.run_id, config.model_dump_json(), retry, verified))

    def finish(self, deadline: float) -> None:
        """Wait until the process has ended, but only until ``deadline`` if it never answers."""
        answered = False
        with contextlib.suppress(EOFError, OSError):
            while answered or self.connection.poll(max(0.0, deadline - time.monotonic())):
                answered = isinstance(self.connection.recv(), Stopping) or answered
            self._process.kill()

    def end(self) -> str:
        """Make sure that the process has ended; returns its exit cause and last output."""
        self.connection.close()
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with self._output as output:
            output.seek(0)
            printed = output.read()[-2000:].decode(errors="replace").strip()
        cause = f"got {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{cause}.\n{printed}".strip()


def _do_not_start(cause: str) -> UserError:
    first, *printed = cause.splitlines()
    last = f" It printed last: {printed[-1].strip()}" if printed else ""
    return UserError(f"Worker processes do not start: one {first}{last}")


def cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def concurrent_runs(runs: int, cores: int) -> int:
    """How many of ``runs`` equally long runs to start concurrently to minimise the total time.

    One per core, or up to half as many more if the last runs would leave cores idle. For example,
    three runs on two cores take 1.5 times as long as one run if all start at once, and otherwise
    twice as long.
    """

    def duration(processes: int) -> float:
        whole, rest = divmod(runs, processes)
        return whole * processes / cores + (max(rest / cores, 1) if rest else 0)

    return min(range(cores, cores + cores // 2 + 1), key=duration)
