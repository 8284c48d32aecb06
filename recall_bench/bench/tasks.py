"""`recall-bench bench tasks`: how fast each task generates its published examples on one core."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.table import Table

from recall_bench import registry
from recall_bench.errors import UserError
from recall_bench.tasks import Segment, Task, generate
from recall_bench.tasks.base import BLOCK

TARGET = 100_000
"""Examples per second that a generator should make at its published size."""
SECONDS = 0.5
"""The least time spent on each distinct training segment."""


@dataclass(frozen=True)
class Throughput:
    """One core's speed on a task's training split."""

    task: str
    segments: str
    examples: float
    """Examples per second, over the mix of segments."""
    tokens: float
    """Tokens per second."""


def measure(task: Task, seconds: float = SECONDS) -> Throughput:
    """Generate each distinct training segment for ``seconds``, in this thread alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        segments = list(dict.fromkeys(task.segments("train")))
        cost = {segment: _seconds_an_example(task, segment, seconds) for segment in segments}
    finally:
        torch.set_num_threads(threads)
    mix = task.segments("train")
    examples, total = sum(s.examples for s in mix), sum(s.examples * cost[s] for s in mix)
    tokens = sum(s.examples * s.length for s in mix)
    lengths = ", ".join(str(length) for length in sorted({s.length for s in mix}))
    return Throughput(task.name, lengths, examples / total, tokens / total)


def _seconds_an_example(task: Task, segment: Segment, seconds: float) -> float:
    index = task.segments("train").index(segment)
    stop = min(segment.examples, BLOCK)
    generate(task, "train", index, 0, stop=stop)  # fills the caches
    began, made = time.process_time(), 0
    while time.process_time() - began < seconds:
        generate(task, "train", index, 0, stop=stop)
        made += BLOCK  # the generator makes whole blocks, even if it keeps less
    return (time.process_time() - began) / made


def measure_all(seconds: float = SECONDS) -> Iterator[Throughput]:
    """Measure every task that its defaults can build; the others need data that is missing."""
    for name in registry.tasks:
        try:
            task = registry.tasks.get(name)()
            task.segments("train")
        except (UserError, ValueError):
            continue
        yield measure(task, seconds)


def table(rows: Iterator[Throughput]) -> Table:
    """One row per task, and whether it reaches `TARGET`."""
    shown = Table(title="Generators at their published sizes, one core", title_justify="left")
    shown.add_column("task", no_wrap=True)
    shown.add_column("lengths", overflow="fold")
    for heading in ("examples/s", "million tokens/s", f"{TARGET:,}/s"):
        shown.add_column(heading, justify="right")
    for row in rows:
        enough = "yes" if row.examples >= TARGET else "no"
        shown.add_row(
            row.task, row.segments, f"{row.examples:,.0f}", f"{row.tokens / 1e6:.1f}", enough
        )
    return shown
