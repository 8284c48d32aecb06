"""`recall-bench bench training`: the time of a training step, its breakdown, and its floor.

It measures for each architecture the milliseconds per step by segment and for the mix of an epoch,
the seconds of one whole run, and on a GPU the kernels that take the most time. It takes steps as
the trainer does, with data on the device. The floor is the larger of two times: a step's matrix
products, forward and backward, at the measured rate; and the bytes that must move, at the measured
bandwidth. These are weights, gradients and moments once (32 bytes per parameter) and each layer's
input and output, forward and backward, once.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from recall_bench import registry
from recall_bench.bench import record as records
from recall_bench.config import WITH_DEFAULTS, RunConfig, TrainingConfig, explain
from recall_bench.errors import UserError
from recall_bench.kernels.plumbing import dispatch
from recall_bench.kernels.plumbing.problem import Ceilings
from recall_bench.model.backbone import Model, build_model, isolated_rng
from recall_bench.recipes import presets
from recall_bench.store.files import write_file
from recall_bench.store.record import TimingRecord
from recall_bench.tasks import generate
from recall_bench.training import environment
from recall_bench.training.batches import Batch, load_split
from recall_bench.training.device import precision_of, resolve_device
from recall_bench.training.graphs import make_steps
from recall_bench.training.loop import schedule, train
from recall_bench.training.optimizer import AdamW
from recall_bench.training.scoring import query_loss
from recall_bench.training.steps import Steps

SAMPLE_SECONDS = 0.5
"""The approximate time spent on timing the steps of one segment."""

KERNELS = 12
"""The number of kernels that the profile lists."""


def bench_training(
    architectures: Sequence[str],
    preset: str,
    device: str,
    output_dir: Path,
    whole_run: bool = True,
    precision: str | None = None,
    console: Console | None = None,
) -> TimingRecord:
    """Time, print, and write ``training.json`` and ``training.md``; returns the record.

    Raises `UserError` if the device or preset does not exist.
    """
    console = console or Console(width=120)
    chosen_device = resolve_device(device)
    configs = [run_config(name, preset, chosen_device, precision) for name in architectures]
    generator = {"generator": generator_speed(configs[0])}
    record = records.begin("training", environment.describe_host(chosen_device), generator)
    output_dir.mkdir(parents=True, exist_ok=True)
    for config in configs:
        with precision_of(config.training.precision, chosen_device), isolated_rng(0, chosen_device):
            row = measure(config, chosen_device)
        if whole_run:
            began = time.perf_counter()
            timing = train(config, device=device).timing
            assert timing is not None
            row["run"] = {"seconds": time.perf_counter() - began, **timing.model_dump()}
        record = records.extended(record, [row])
        console.print(f"measured {row['architecture']}: {row['mix']:.3f} ms per step")
        records.write(record, output_dir / "training.json")
        write_file(output_dir / "training.md", markdown(record).encode())
    record = records.complete(record)
    records.write(record, output_dir / "training.json")
    console.print(table(record.rows))
    return record


def run_config(
    architecture: str, preset: str, device: torch.device, precision: str | None = None
) -> RunConfig:
    """The run to time: the preset's recipe at one shape, without early stop."""
    chosen = presets.get(preset)
    timed = registry.architectures.get(architecture).bench
    knobs = timed.get(preset) or chosen.knob_settings(architecture, {})[0]
    training = {**chosen.training, "early_stop": None, "learning_rate": chosen.learning_rates[1]}
    if precision:
        training["precision"] = precision
    elif device.type != "cuda" and training.get("precision") == "tf32":
        training["precision"] = "fp32"
    try:
        return RunConfig(
            task={"name": "mqar", **chosen.tasks["mqar"]},
            architecture={"name": architecture, **knobs},
            model=chosen.model,
            training=training,
        )
    except ValidationError as error:
        raise UserError(explain(error, TrainingConfig)) from error


def generator_speed(config: RunConfig) -> list[dict[str, Any]]:
    """Training examples per second on one thread, by segment."""
    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for index, segment in enumerate(config.task.segments("train")):
        count = min(segment.examples, 8192)
        generate(config.task, "train", index, seed=0, stop=1)
        began = time.perf_counter()
        generate(config.task, "train", index, seed=0, stop=count)
        rows.append({"segment": str(segment), "rate": count / (time.perf_counter() - began)})
    torch.set_num_threads(threads)
    return rows


def measure(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Milliseconds per step by segment and for the mix, their floors, and the profile."""
    dispatch.reset()
    data, _ = load_split(config.task, "train", 0, device)
    model = build_model(config).to(device)
    optimizer = AdamW(
        model.parameters(), config.training.learning_rate, config.training.weight_decay
    )
    began = time.perf_counter()
    steps = make_steps(model, optimizer, data, config.training)
    ready = time.perf_counter() - began
    optimizer.set_rate(config.training.learning_rate)
    model.train()
    ceilings = measure_ceilings(device, config.training.precision)
    batches = schedule(data, config.training)
    segments = []
    for index, part in enumerate(data):
        starts = [start for segment, start in batches if segment == index]
        milliseconds = time_steps(steps, index, starts)
        flops, moved = demand(config, model, part.batch(0, config.training.batch_size))
        floor = ceilings.floor(moved, flops)
        segments.append(
            {
                "segment": str(part.segment),
                "batches": len(starts),
                "milliseconds": milliseconds,
                "floor": floor,
                "gigaflops": flops / 1e9,
                "megabytes": moved / 1e6,
            }
        )
    return {
        "architecture": config.architecture.name,
        "knobs": config.architecture.model_dump(mode="json", context=WITH_DEFAULTS),
        "precision": config.training.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "step": steps.how,
        "ready_seconds": ready,
        "kernels": dispatch.used(),
        "speed": ceilings._asdict(),
        "segments": segments,
        "mix": _mean(segments, "milliseconds"),
        "mix_floor": _mean(segments, "floor"),
        "profile": profile(steps, batches) if device.type == "cuda" else [],
    }


def _mean(segments: Sequence[dict[str, Any]], key: str) -> float:
    """The mean over the steps of an epoch."""
    total: float = sum(segment["batches"] * segment[key] for segment in segments)
    return total / sum(segment["batches"] for segment in segments)


def time_steps(steps: Steps, index: int, starts: Sequence[int]) -> float:
    """Milliseconds per step on one segment: the median of repeated rounds through its batches."""
    device, rounds = steps.loss.device, list[float]()
    starts = starts[:20]
    _seconds(lambda: [steps.take(index, start) for start in starts], device)
    spent = 0.0
    while spent < SAMPLE_SECONDS or len(rounds) < 3:
        taken = _seconds(lambda: [steps.take(index, start) for start in starts], device)
        spent += taken
        rounds.append(taken / len(starts))
    return 1e3 * sorted(rounds)[len(rounds) // 2]


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Wall time of a call, the device's work included."""
    _wait(device)
    began = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_ceilings(device: torch.device, precision: str) -> Ceilings:
    """A large copy and a large matrix product on random data, in the precision of the run."""
    cuda = device.type == "cuda"
    source = torch.randn(2**28 if cuda else 2**24, device=device)
    size = 8192 if cuda else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    copy = min(_seconds(lambda: source.clone(), device) for _ in range(6))
    product = min(_seconds(lambda: a @ b, device) for _ in range(6))
    return Ceilings(2 * source.numel() * 4 / copy, 2 * size**3 / product)


def demand(config: RunConfig, model: Model, batch: Batch) -> tuple[int, int]:
    """FLOPs of a step's matrix products, and the fewest bytes that it can move."""
    inputs, positions, targets = (torch.empty_like(x, device="meta") for x in batch[:3])
    with torch.device("meta"):
        task = config.task
        twin = Model(config.architecture, config.model, task.tokens, task.readout)
    counter = FlopCounterMode(display=False)
    with counter:
        query_loss(twin, Batch(inputs, positions, targets)).backward()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    stream = batch.inputs.numel() * config.architecture.d_model * 4
    return counter.get_total_flops(), 32 * parameters + 4 * len(model.layers) * stream


def profile(steps: Steps, batches: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """The slowest kernels of an epoch: name, launches and microseconds per step."""
    sample = batches[:: max(1, len(batches) // 64)]
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for index, start in sample:
            steps.take(index, start)
        torch.cuda.synchronize(steps.loss.device)
    events = sorted(profiler.key_averages(), key=lambda e: e.self_device_time_total, reverse=True)
    total = sum(event.self_device_time_total for event in events)
    launches = sum(event.count for event in events)
    rows = [
        {
            "kernel": event.key,
            "launches": event.count / len(sample),
            "microseconds": event.self_device_time_total / len(sample),
        }
        for event in events[:KERNELS]
    ]
    whole = {"launches": launches / len(sample), "microseconds": total / len(sample)}
    return [*rows, {"kernel": "all kernels", **whole}]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows as a table for a terminal."""
    shown = Table(
        "architecture", "segment", "ms per step", "floor ms", "times floor", title="Training steps"
    )
    for row in rows:
        for cells in _cells(row):
            shown.add_row(*cells)
    return shown


def _cells(row: dict[str, Any]) -> list[tuple[str, ...]]:
    def cells(name: str, taken: float, floor: float) -> tuple[str, ...]:
        return row["architecture"], name, f"{taken:.3f}", f"{floor:.3f}", f"{taken / floor:.1f}"

    return [
        *(cells(part["segment"], part["milliseconds"], part["floor"]) for part in row["segments"]),
        cells("mix", row["mix"], row["mix_floor"]),
    ]


def markdown(record: TimingRecord) -> str:
    """The record as a Markdown page."""
    ran = record.environment
    versions = ", ".join(f"{name} {version}" for name, version in ran["packages"].items())
    lines = [
        "# Training speed",
        "",
        f"`{record.command}` on {ran['device']}; {versions}.",
        "",
        "| architecture | segment | ms per step | floor ms | times floor |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += ["| " + " | ".join(c) + " |" for row in record.rows for c in _cells(row)]
    lines += ["", "Training examples generated per second, on one thread: " + "; ".join(
        f"{part['segment']}: {part['rate']:,.0f}" for part in record.machine["generator"]
    ) + "."]  # fmt: skip
    for row in record.rows:
        speed = row["speed"]
        lines += [
            "",
            f"## {row['architecture']}",
            "",
            f"{json.dumps(row['knobs'])}, {row['precision']}, {row['parameters']:,} parameters. "
            f"Steps: {row['step']}; ready after {row['ready_seconds']:.1f} s, compilation "
            f"included. Measured here: {speed['bytes_per_second'] / 1e9:,.0f} GB/s, "
            f"{speed['operations_per_second'] / 1e12:.3g} TFLOP/s.",
        ]
        if run := row.get("run"):
            lines += [
                "",
                f"One whole run: {run['seconds']:.1f} s, of which data and set-up "
                f"{run['data_seconds']:.1f} s, {run['steps']} training steps "
                f"{run['train_seconds']:.1f} s, evaluation {run['evaluation_seconds']:.1f} s.",
            ]
        if row["profile"]:
            lines += ["", "| kernel | launches per step | µs per step |", "| --- | --- | --- |"]
            lines += [
                f"| `{kernel['kernel'][:90]}` | {kernel['launches']:.1f} | "
                f"{kernel['microseconds']:.1f} |"
                for kernel in row["profile"]
            ]
    return "\n".join(lines) + "\n"
