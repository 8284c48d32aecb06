"""Runs, records and a trainer for tests of the store and of sweeps, without any real training."""

import contextlib
import errno
import json
import os
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recall_bench.config import RunConfig, TrainingConfig
from recall_bench.errors import DeviceLost
from recall_bench.registry import load_plugin
from recall_bench.store.record import (
    CurvePoint,
    LayerState,
    Memory,
    Status,
    Timing,
    TrainingRecord,
    named,
)

PLUGIN = Path(__file__).with_name("sweep_plugin.py")


def toy_run(seed: int = 0, learning_rate: float = 1e-3, **knobs: Any) -> RunConfig:
    load_plugin(PLUGIN)
    return RunConfig(
        task={"name": "toy"},
        architecture={"name": "toy-mixer", **knobs},
        training=TrainingConfig(learning_rate=learning_rate),
        seed=seed,
    )


def toy_record(
    config: RunConfig, status: Status = "finished", accuracy: float = 0.5
) -> TrainingRecord:
    memory = Memory(
        state_bytes=1024,
        state_length=8,
        state_dtype="float32",
        layers=[LayerState(layer="0.toy-mixer", bytes=1024)],
        parameters=10,
        peak_bytes=None,
    )
    timing = Timing(
        wall_seconds=1.5,
        train_seconds=1.0,
        evaluation_seconds=0.25,
        data_seconds=0.25,
        steps=4,
        tokens_per_second=32.0,
        resumed=0,
    )
    curve = CurvePoint(
        epoch=1,
        step=4,
        learning_rate=1e-3,
        train_loss=0.1 + 0.2,
        validation_accuracy=accuracy,
        validation_loss=1 / 3,
        seconds=1.0,
    )
    succeeded = status == "finished"
    return TrainingRecord(
        **named(config),
        status=status,
        reason=None if succeeded else "for the test",
        validation_accuracy=accuracy if succeeded else None,
        test_accuracy=accuracy if succeeded else None,
        test_loss=1 / 3 if succeeded else None,
        curve=[curve],
        memory=memory if succeeded else None,
        timing=timing if succeeded else None,
        environment={"note": "π and a\nline break"},
        started="2024-01-01T00:00:00+00:00",
        finished="2024-01-01T00:00:01+00:00",
    )


FAILS, DIES, DIES_ONCE, FILLS_THE_DISK, DIVERGES, HANGS, WARNS, LOSES_ITS_GPU = range(11, 19)
TAKES_ALL_DOWN = 19
"""Windows at which the toy trainer misbehaves."""


class Interrupted(Exception):
    pass


@dataclass(frozen=True)
class Progress:
    run_id: str
    epoch: int
    epochs: int
    step: int
    steps: int
    validation_accuracy: float | None
    seconds: float


def toy_runs(count: int = 40) -> list[RunConfig]:
    return [toy_run(seed) for seed in range(count)]


def train(
    config: RunConfig,
    *,
    directory: Path,
    device: str,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
    steps: int = 10,
) -> TrainingRecord:
    """A third of a second of steps whose score depends on each; continues from its checkpoint."""
    checkpoint = directory / "checkpoint.pt"
    with (directory / "attempts.txt").open("a") as attempts:
        attempts.write(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
    first = len((directory / "attempts.txt").read_text().splitlines()) == 1
    match config.architecture.window:
        case 11:
            raise ValueError("this run fails")
        case 12:
            os.kill(os.getpid(), signal.SIGKILL)
        case 13 if first:
            os.kill(os.getpid(), signal.SIGKILL)
        case 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        case 15:
            return toy_record(config, "diverged")
        case 16:
            time.sleep(60)
        case 17:
            warnings.warn("this run warns", stacklevel=1)
        case 19:
            take_neighbours_down(directory)
        case 18 if first:
            raise DeviceLost("an illegal memory access was encountered")
    step, score = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, config.seed)
    while step < steps:
        time.sleep(0.03)
        step, score = step + 1, (score * 31 + step) % 1009
        partial = directory / f"checkpoint.{os.getpid()}.tmp"
        partial.write_text(json.dumps([step, score]))
        partial.replace(checkpoint)
        on_progress(Progress(config.run_id, 0, 1, step, steps, None, step * 0.03))
        if stop():
            raise Interrupted
    return toy_record(config, accuracy=score / 1009)


def take_neighbours_down(directory: Path) -> None:
    """Kill every process that has worked in the store, as a crash on a shared GPU does."""
    time.sleep(0.15)  # so that the neighbours have begun
    pids = {
        int(line.split()[0])
        for file in directory.parent.glob("*/attempts.txt")
        for line in file.read_text().splitlines()
    }
    for pid in pids - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def train_slowly(config: RunConfig, **options: Any) -> TrainingRecord:
    return train(config, **options, steps=400)


def one_run() -> list[RunConfig]:
    return toy_runs(1)


def hanging_run() -> list[RunConfig]:
    return [toy_run(window=HANGS)]
