"""Reads stores and exports for the verbs, and prints warnings about skipped records."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recall_bench.errors import UserError, nearest


def load_records(path: Path) -> Any:
    """Load the records of a store or exported file; prints which ones it skipped."""
    from recall_bench.store import load

    frame, skipped = load(path)
    print_skipped(skipped)
    if frame.empty:
        raise UserError(f"{path} holds no records. Run `recall-bench sweep` first.")
    return frame


def load_runs(path: Path, task: str | None = None) -> Any:
    """Load training and evaluation records, of one task or all."""
    frame = load_records(path)
    frame = frame[frame["kind"] != "timing"]
    if frame.empty:
        raise UserError(f"{path} holds only timings. Run `recall-bench sweep` first.")
    known = sorted(set(frame["task"]))
    if task and task not in known:
        raise UserError(f"{path} has no runs of task '{task}'. {nearest(task, known)}")
    return frame[frame["task"] == task] if task else frame


def suite_grid(frame: Any, name: str) -> Any:
    """Compute the scores of a suite from a table of runs."""
    from recall_bench.recipes import suites
    from recall_bench.recipes.suites.grid import grid
    from recall_bench.recipes.suites.scores import scores, summary

    suite = suites.get(name)
    return grid(summary(scores(frame, suite), suite), suite)


def print_skipped(skipped: Sequence[tuple[Path, str]]) -> None:
    for path, reason in skipped:
        print(f"Skipped {path}: {reason}", file=sys.stderr)
