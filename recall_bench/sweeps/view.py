"""Shows the progress of a sweep: a live table, or plain lines without a terminal."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from recall_bench.config import RunConfig
from recall_bench.store.record import TrainingRecord
from recall_bench.sweeps.label import label
from recall_bench.sweeps.worker import Ended, Event, Progressed, Skipped, Started, Warned


class Board:
    """The status of every run of a sweep."""

    def __init__(self, configs: Sequence[RunConfig], processes: int = 1):
        self.configs = {config.run_id: config for config in configs}
        self.processes = processes
        self.records: dict[str, TrainingRecord] = {}
        self.running: dict[str, Any] = {}
        """The last `recall_bench.training.Progress` per run, None before the first."""
        self.elsewhere: dict[str, None] = {}
        """Runs that another process holds, in the order in which this sweep met them."""
        self.points = _points(configs)
        self.several = {
            "task": len({config.task.name for config in configs}) > 1,
            "decay": len({config.training.weight_decay for config in configs}) > 1,
        }
        self.begin()

    def begin(self) -> None:
        """Start the clock: runs that end from now on inform the estimate of the time left."""
        self._began = time.monotonic()
        self._seconds: list[float] = []

    def apply(self, event: Event) -> None:
        """Update the status with an event."""
        run_id = event.run_id
        match event:
            case Started():
                self.elsewhere.pop(run_id, None)
                self.running[run_id] = None
            case Progressed(progress=progress):
                self.running[run_id] = progress
            case Skipped():
                self.running.pop(run_id, None)
                self.elsewhere[run_id] = None
            case Ended(record=record):
                self.running.pop(run_id, None)
                self.elsewhere.pop(run_id, None)
                self.records[run_id] = record
                if record.timing:
                    self._seconds.append(record.timing.wall_seconds)

    def elapsed(self) -> float:
        """Seconds since the sweep began."""
        return time.monotonic() - self._began

    def remaining(self) -> float | None:
        """Estimated seconds left, from the duration of the runs so far; None without any data."""
        started = [p for p in list(self.running.values()) if p and p.step]
        estimates = [progress.seconds * progress.steps / progress.step for progress in started]
        durations = self._seconds or estimates
        if not durations:
            return None
        mean = sum(durations) / len(durations)
        left = [max(mean, progress.seconds) - progress.seconds for progress in started]
        undone = len(self.configs) - len(self.records)
        total = sum(left) + (undone - len(started)) * mean
        return total / max(1, min(self.processes, undone))

    def name(self, run_id: str) -> str:
        """A run in words: point, learning rate, seed; task and weight decay if they vary."""
        config = self.configs[run_id]
        task = f"{config.task.name}: " if self.several["task"] else ""
        decay = f" wd={config.training.weight_decay:g}" if self.several["decay"] else ""
        point = self.points[config.architecture.model_dump_json()]
        rate = f"{config.training.learning_rate:g}"
        return f"{task}{point} lr={rate}{decay} seed={config.seed}"

    def warning(self, event: Warned) -> str:
        """A warning in one line, with the name of its run if a run caused it."""
        return f"{self.name(event.run_id)}: {event.message}" if event.run_id else event.message

    def best(self) -> list[tuple[str, int, int, TrainingRecord | None]]:
        """For every point: its name, runs done, all runs, and the run best in validation.

        In a sweep over several tasks no run is the best.
        """
        rows = []
        for key, name in self.points.items():
            runs = [r for r, c in self.configs.items() if c.architecture.model_dump_json() == key]
            records = [self.records[run] for run in runs if run in self.records]
            scored = [record for record in records if record.validation_accuracy is not None]
            best = max(scored, key=lambda r: r.validation_accuracy or 0.0, default=None)
            best = None if self.several["task"] else best
            rows.append((name, len(records), len(runs), best))
        return rows


class View:
    """Base of the views that a sweep reports to; shows nothing itself."""

    @contextlib.contextmanager
    def showing(self, board: Board) -> Iterator[None]:
        """Show ``board`` during the block."""
        self.board = board
        yield

    def show(self, event: Event) -> None:
        """Report an event, which the board has already applied."""

    def note(self, message: str) -> None:
        """Print a message to the user."""


class PlainView(View):
    """One line for every run that ends, and notes on standard error."""

    def show(self, event: Event) -> None:
        if isinstance(event, Ended):
            done, total = len(self.board.records), len(self.board.configs)
            name = self.board.name(event.run_id)
            print(f"[{done}/{total}] {name}: {outcome(event.record)}", flush=True)
        elif isinstance(event, Warned):
            self.note(self.board.warning(event))

    def note(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)


class LiveView(View):
    """A live table in the terminal."""

    def __init__(self, console: Console):
        self.console = console

    @contextlib.contextmanager
    def showing(self, board: Board) -> Iterator[None]:
        self.board = board
        render = lambda: table(board)  # noqa: E731
        with Live(console=self.console, get_renderable=render, refresh_per_second=4):
            yield

    def show(self, event: Event) -> None:
        if isinstance(event, Ended) and event.record.status != "finished":
            self.note(f"{self.board.name(event.run_id)}: {outcome(event.record)}")
        elif isinstance(event, Warned):
            self.note(self.board.warning(event))

    def note(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False)


def default_view() -> View:
    """A live table if standard output is a terminal, otherwise plain lines."""
    console = Console(highlight=False)
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveView(console) if live else PlainView()


def outcome(record: TrainingRecord) -> str:
    """The outcome of a run in one line."""
    if record.status != "finished":
        return f"{record.status}, {(record.reason or '').partition(chr(10))[0]}"
    duration = f", {record.timing.wall_seconds:.1f} s" if record.timing else ""
    scores = _score(record.validation_accuracy), _score(record.test_accuracy)
    return f"validation {scores[0]}, test {scores[1]}{duration}"


def table(board: Board) -> RenderableType:
    """Draw the board for a terminal."""
    records = list(board.records.values())
    counts = {
        "done": len(records),
        "running": len(board.running),
        "running elsewhere": len(board.elsewhere),
        "diverged": sum(record.status == "diverged" for record in records),
        "failed": sum(record.status == "failed" for record in records),
    }
    parts = [f"{count} {state}" for state, count in counts.items() if count or state == "done"]
    parts[0] = f"{len(records)} of {len(board.configs)} runs done"
    parts.append(f"{_clock(board.elapsed())} elapsed")
    left = board.remaining()
    if left and len(records) < len(board.configs):
        parts.append(f"about {_clock(left)} left")

    points = Table(box=None, pad_edge=False)
    points.add_column("point")
    for heading in ("runs", "validation", "test", "learning rate"):
        points.add_column(heading, justify="right")
    for name, done, total, best in board.best():
        rate = f"{best.config['training']['learning_rate']:g}" if best else ""
        scores = (best.validation_accuracy, best.test_accuracy) if best else (None, None)
        points.add_row(Text(name), f"{done}/{total}", *map(_score, scores), rate)

    running = Table(box=None, pad_edge=False, show_header=False)
    for run_id, progress in list(board.running.items()):
        epoch = f"epoch {progress.epoch + 1} of {progress.epochs}" if progress else "starting"
        accuracy = progress.validation_accuracy if progress else None
        running.add_row(Text(board.name(run_id)), epoch, f"validation {_score(accuracy)}")
    for run_id in list(board.elsewhere):
        running.add_row(Text(board.name(run_id)), "running elsewhere", "")

    return Group(Text(" · ".join(parts)), running, points)


def _points(configs: Sequence[RunConfig]) -> dict[str, str]:
    """Names of the architecture points by their JSON, without knobs that never vary."""
    points = {config.architecture.model_dump_json(): config.architecture for config in configs}
    names = {}
    for key, point in points.items():
        family = [other for other in points.values() if other.name == point.name]
        varying = [
            knob
            for knob in type(point).model_fields
            if len({str(getattr(other, knob)) for other in family}) > 1
        ]
        names[key] = label(point, varying)
    return names


def _score(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.3f}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
