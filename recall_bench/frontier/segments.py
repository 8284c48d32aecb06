"""Scores by test segment and by slice: those of one run, and their means over seeds."""

from collections.abc import Sequence
from typing import Any, TypeAlias

Scores: TypeAlias = list[dict[str, Any]]
"""Scores of one run, as the columns ``segments`` and ``slices`` of a table hold them."""

LIMITS = ("chance", "ceiling", "window_ceiling")
"""Limits that a record may hold for a segment beside its scores; equal for all seeds."""


def on_test(segments: Scores) -> Scores:
    """The test segments among those of a row."""
    return [segment for segment in segments if segment["split"] == "test"]


def mean_of_segments(segments: Scores, name: str) -> float | None:
    """The mean over the test segments of a score or limit; None where one of them lacks it."""
    tested = on_test(segments)
    values = [float(segment[name]) for segment in tested if segment.get(name) is not None]
    return sum(values) / len(values) if values and len(values) == len(tested) else None


def mean_segments(runs: Sequence[Scores]) -> Scores:
    """The test segments of several runs, scores averaged; a run without any counts as zero."""
    total: dict[Any, dict[str, Any]] = {}
    for segments in runs:
        for segment in on_test(segments):
            name = segment["length"], tuple(sorted(segment["options"].items()))
            entry = total.get(name)
            if entry is None:
                entry = total[name] = {
                    "split": "test",
                    "length": segment["length"],
                    "options": segment["options"],
                    "accuracy": 0.0,
                    **{limit: segment.get(limit) for limit in LIMITS},
                }
            entry["accuracy"] += segment["accuracy"] / len(runs)
            if segment.get("exact_match") is not None:
                before = entry.get("exact_match", 0.0)
                entry["exact_match"] = before + segment["exact_match"] / len(runs)
    return list(total.values())


def mean_slices(runs: Sequence[Scores]) -> dict[str, dict[int, float]]:
    """Accuracy by slice and value, averaged over runs; a run without any counts as zero."""
    total: dict[str, dict[int, float]] = {}
    for slices in runs:
        for score in slices:
            values = total.setdefault(score["name"], {})
            before = values.get(score["value"], 0.0)
            values[score["value"]] = before + score["accuracy"] / len(runs)
    return total
