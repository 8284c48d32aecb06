"""`recall-bench bench training --cold`: from the command to the end of its first run, by phase.

It runs the command of one run twice, each in a process of its own: cold, with empty caches of
compiled kernels and generated data, and warm, with what the first left there.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from recall_bench.bench import record as records
from recall_bench.bench.training import run_config
from recall_bench.config import RunConfig
from recall_bench.documents.cache import VARIABLE as DATA_CACHE
from recall_bench.errors import UserError
from recall_bench.recipes import presets
from recall_bench.store.files import write_file
from recall_bench.store.record import Timing, TimingRecord, TrainingRecord
from recall_bench.store.runs import ResultStore
from recall_bench.training import environment
from recall_bench.training.device import resolve_device

KERNEL_CACHE = "TRITON_CACHE_DIR"

PHASES = {
    "import": "start of the worker and its imports",
    "data": "data",
    "setup": "model",
    "compile": "compilation",
    "capture": "CUDA graphs",
    "train": "training",
    "evaluation": "evaluation",
}
"""The phases of `Timing` and what the table calls them."""


def bench_start(
    architectures: Sequence[str],
    preset: str,
    device: str,
    output_dir: Path,
    precision: str | None = None,
    console: Console | None = None,
) -> TimingRecord:
    """Measure, print, and write ``start.json`` and ``start.md``; returns the record.

    Raises `UserError` if the device or preset does not exist, or a command fails.
    """
    console = console or Console(width=120)
    place = resolve_device(device)
    record = records.begin("start", environment.describe_host(place), {})
    output_dir.mkdir(parents=True, exist_ok=True)
    for name in architectures:
        config = run_config(name, preset, place, precision)
        words = command(config, preset, device)
        with tempfile.TemporaryDirectory() as folder:
            rows = [measure(words, start, Path(folder)) for start in ("cold", "warm")]
        record = records.extended(record, [{"architecture": name, **row} for row in rows])
        seconds = ", ".join(f"{row['start']} {row['wall_seconds']:.1f} s" for row in rows)
        console.print(f"measured {name}: {seconds}")
        records.write(record, output_dir / "start.json")
    record = records.complete(record)
    records.write(record, output_dir / "start.json")
    text = markdown(record)
    write_file(output_dir / "start.md", text.encode())
    console.print(text)
    return record


def command(config: RunConfig, preset: str, device: str) -> list[str]:
    """The words after ``recall-bench`` that carry out one run of a preset in one process."""
    chosen = presets.get(preset)
    mixer = config.architecture
    varied = chosen.knobs(mixer.name).keys()  # the preset sweeps these unless they are given
    others = mixer.model_dump(mode="json", exclude_defaults=True).keys()
    knobs = {name: getattr(mixer, name) for name in sorted((varied | others) - {"name"})}
    given = {
        "preset": preset,
        "arch": mixer.name,
        **knobs,
        "learning_rates": chosen.learning_rates[1],
        "precision": config.training.precision,
        "device": device,
        "processes": 1,
    }
    words = ["sweep"]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def measure(words: Sequence[str], start: str, folder: Path) -> dict[str, Any]:
    """Run a command with the caches in ``folder``; its wall time and the phases of its run."""
    variables = {
        KERNEL_CACHE: str(folder / "kernels"),
        DATA_CACHE: str(folder / "data"),
    }
    store = folder / start
    call = [sys.executable, "-m", "recall_bench", *words, "--store", str(store)]
    began = time.perf_counter()
    ran = subprocess.run(call, env=os.environ | variables, capture_output=True, text=True)
    wall = time.perf_counter() - began
    trained = [r for r in ResultStore(store).records() if isinstance(r, TrainingRecord)]
    if ran.returncode or len(trained) != 1 or trained[0].timing is None:
        raise UserError(
            f"`recall-bench {' '.join(words)}` left {len(trained)} records and exit code "
            f"{ran.returncode}, expected one of a finished run and 0. It said: "
            f"{(ran.stderr or ran.stdout)[-2000:]}"
        )
    return {
        "command": " ".join(["recall-bench", *words]),
        "start": start,
        "wall_seconds": wall,
        "phases": phases(trained[0].timing, wall),
    }


def phases(timing: Timing, wall: float) -> dict[str, float]:
    """Seconds by phase; what belongs to no phase of the run is under "other"."""
    parts = {name: getattr(timing, f"{name}_seconds") or 0.0 for name in PHASES}
    return {**parts, "other": wall - sum(parts.values())}


def markdown(record: TimingRecord) -> str:
    """The record as a Markdown page."""
    ran = record.environment
    versions = ", ".join(f"{name} {version}" for name, version in ran["packages"].items())
    lines = ["# From the command to its first run", "", f"On {ran['device']}; {versions}."]
    for cold, warm in zip(record.rows[::2], record.rows[1::2], strict=False):
        lines += ["", f"## {cold['architecture']}", "", f"`{cold['command']}`", ""]
        lines += ["| seconds | cold | warm |", "| --- | --- | --- |"]
        cells = [(label, cold["phases"][key], warm["phases"][key]) for key, label in PHASES.items()]
        cells += [("everything else", cold["phases"]["other"], warm["phases"]["other"])]
        cells += [("**the whole command**", cold["wall_seconds"], warm["wall_seconds"])]
        lines += [f"| {label} | {first:.2f} | {second:.2f} |" for label, first, second in cells]
    return "\n".join(lines) + "\n"
