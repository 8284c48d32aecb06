"""Times a training step with and without each piece that is meant to make it faster, on one GPU.

    python results/training/pieces.py OUT PRECISION ARCH...

OUT is the JSON file to write, PRECISION is fp32, tf32 or bf16. The models have the shapes that
``bench training`` times at the preset ``figure2``. Each variant's CUDA graphs are captured with one
piece replaced; then all variants are timed in turn, five rounds in one process, and a variant's
result is its median: milliseconds a step over the mix of an epoch's segments.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from recall_bench.architectures import Mixer, Recurrence
from recall_bench.bench import training as bench
from recall_bench.config import RunConfig
from recall_bench.kernels.linear.module import Linear
from recall_bench.kernels.rows_at import rows_at
from recall_bench.model.backbone import build_model, isolated_rng
from recall_bench.training import graphs, optimizer
from recall_bench.training.batches import SegmentData, load_split
from recall_bench.training.device import precision_of, resolve_device
from recall_bench.training.loop import schedule
from recall_bench.training.steps import Steps

ROUNDS = 5
NEVER = 10**12
"""A size that no tensor reaches."""


class Replacement(NamedTuple):
    """An attribute and what stands in its place while the graphs of a variant are captured."""

    owner: Any
    name: str
    value: Any


def project_everywhere(self: Linear, x: Tensor, positions: Tensor, size: int) -> tuple[Tensor, ...]:
    """`Linear.at` that projects all positions first, then picks."""
    y = self(x)
    if size < 0:
        return rows_at(y[..., size:], positions), y[..., :size]
    return rows_at(y[..., :size], positions), y[..., size:]


def variants(mixers: set[type[Mixer]]) -> dict[str, list[Replacement]]:
    """What each variant replaces."""
    whole = Replacement(optimizer, "PIECE", NEVER)
    own_kernel_never = Replacement(optimizer, "LARGE", NEVER)
    return {
        "as is": [],
        "default at": [
            Replacement(cls, "at", (Recurrence if issubclass(cls, Recurrence) else Mixer).at)
            for cls in mixers
        ],
        "plain linear_at": [Replacement(Linear, "at", project_everywhere)],
        "no second stream": [Replacement(graphs, "Side", lambda device: None)],
        "torch AdamW whole": [own_kernel_never, whole],
        "torch AdamW pieces": [own_kernel_never],
        "own AdamW large only": [whole],
    }


def make_steps(
    config: RunConfig, data: list[SegmentData], device: torch.device, replaced: list[Replacement]
) -> Steps:
    """Steps from CUDA graphs, captured with some attributes replaced."""
    recipe = config.training
    with ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(patch.object(owner, name, value))
        model = build_model(config).to(device)
        adamw = optimizer.AdamW(model.parameters(), recipe.learning_rate, recipe.weight_decay)
        steps = graphs.make_steps(model, adamw, data, recipe)
    if not steps.graphs:
        sys.exit(f"Expected steps from CUDA graphs, got: {steps.how}.")
    adamw.set_rate(recipe.learning_rate)
    model.train()
    return steps


def step_time(steps: Steps, batches: list[tuple[int, int]]) -> float:
    """Milliseconds a step, the mean over the batches of an epoch."""
    total = 0.0
    for index in range(len(steps.data)):
        starts = [start for segment, start in batches if segment == index]
        total += bench.time_steps(steps, index, starts) * len(starts)
    return total / len(batches)


def measure(config: RunConfig, device: torch.device) -> Iterator[tuple[str, float]]:
    """The median milliseconds a step of each variant."""
    data, _ = load_split(config.task, "train", 0, device)
    batches = schedule(data, config.training)
    mixers = {type(layer.mixer) for layer in build_model(config).layers}
    made = {
        name: make_steps(config, data, device, replaced)
        for name, replaced in variants(mixers).items()
    }
    rounds = [
        {name: step_time(steps, batches) for name, steps in made.items()} for _ in range(ROUNDS)
    ]
    for name in made:
        yield name, median(times[name] for times in rounds)


def main() -> None:
    """Measure, print each variant beside the step as it is, and write after each architecture."""
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    file, precision, architectures = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    device = resolve_device("cuda")
    results: dict[str, dict[str, float]] = {}
    for name in architectures:
        config = bench.run_config(name, "figure2", device, precision)
        with precision_of(config.training.precision, device), isolated_rng(0, device):
            results[name] = dict(measure(config, device))
        as_is = results[name]["as is"]
        for variant, milliseconds in results[name].items():
            change = milliseconds / as_is - 1
            print(
                f"{name}, {precision}, {variant}: {milliseconds:.4f} ms, {change:+.1%}", flush=True
            )
        record = {"device": str(device), "precision": precision, "ms": results}
        file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
