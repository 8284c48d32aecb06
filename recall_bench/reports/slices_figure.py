"""Accuracy against what varies within a task: length, pairs, or any slice such as the gap."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from recall_bench.errors import UserError, nearest
from recall_bench.frontier.experiments import one_experiment
from recall_bench.frontier.segments import Scores, on_test
from recall_bench.reports.style import (
    WINDOW_DASH,
    Paths,
    legend_outside,
    mean_marker,
    new_figure,
    print_style,
    recall_axis,
    save,
    size_text,
    styles_of,
)

Series: TypeAlias = dict[float, float]
"""Scores by their value on the horizontal axis."""

AXES = {
    "length": "sequence length (tokens)",
    "pairs": "key-value pairs",
    "gap": "distance back to the answer (tokens, rounded up to a power of two)",
}

THIN: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.5}
"""Points of an architecture other than its best."""


def plot_slices(
    data: pd.DataFrame,
    by: str = "pairs",
    path: Paths | None = None,
    *,
    experiment: str | None = None,
    title: str | None = None,
    width: float = 6.8,
) -> Figure:
    """Test accuracy against a field of the test segments or a slice: one line an architecture.

    A thick line is the architecture's point with the best validation accuracy, whose state bytes
    are in the legend; thin lines are its other points. Segments that share a value are averaged.
    The background is shaded beyond the values of training, where a model must generalise. A grey
    line shows the accuracy that no model can beat, where it is below 1, and a dash what a stack of
    windows can reach.

    ``data`` holds runs or points. Raises `UserError` where nothing can be plotted, several
    experiments are mixed, or the runs have no such field or slice.
    """
    table = one_experiment(data, experiment)
    styles = styles_of(table["architecture"])
    with print_style():
        figure, axes = new_figure(width, (0.5 if width >= 5 else 0.72) * width + 0.1, title)
        handles: list[Any] = []
        for name, group in table.groupby("architecture", sort=False):
            style = styles[str(name)]
            best = group["validation_accuracy"].idxmax()
            for index, row in zip(group.index, group.to_dict("records"), strict=True):
                series = _accuracy(row, by)
                x, y = list(series), list(series.values())
                if index != best:
                    axes.plot(x, y, color=style.color, gid="other-point", zorder=2, **THIN)
                    continue
                label = f"{name} ({size_text(row['state_bytes'])})"
                look = mean_marker(style, width)
                handles += axes.plot(x, y, linewidth=1.3, zorder=3, label=label, **look)
                if dashes := _segment_means(row["segments"], by, "window_ceiling"):
                    look = {**WINDOW_DASH, "color": style.color}
                    axes.plot(list(dashes), list(dashes.values()), gid="window-ceiling", **look)
        if any(line.get_gid() == "other-point" for line in axes.lines):
            handles.append(Line2D([], [], color="black", label="other knob settings", **THIN))
        handles += _limits(axes, table, by)
        _value_axis(axes, by)
        recall_axis(axes)
        legend_outside(figure, handles)
        save(figure, path)
    return figure


def _accuracy(row: Mapping[Any, Any], by: str) -> Series:
    """Accuracy at every value of a segment field, or else of a slice, rising."""
    if means := _segment_means(row["segments"], by, "accuracy"):
        return means
    slices = row["slices"]
    if by in slices:
        return dict(sorted((float(value), y) for value, y in slices[by].items()))
    fields = [name for segment in on_test(row["segments"]) for name in _fields(segment)]
    known = list(dict.fromkeys([*fields, *slices]))
    raise UserError(f"The test scores have no field or slice '{by}'. {nearest(by, known)}")


def _segment_means(segments: Scores, by: str, score: str) -> Series:
    """The mean of a score or limit at every value of a segment field; empty where unknown."""
    scores: dict[float, list[float]] = {}
    for segment in on_test(segments):
        value, fields = segment.get(score), _fields(segment)
        if by in fields and value is not None:
            scores.setdefault(fields[by], []).append(value)
    return {value: float(np.mean(scores[value])) for value in sorted(scores)}


def _fields(segment: Mapping[str, Any]) -> dict[str, float]:
    return {"length": segment["length"], **segment["options"]}


def _limits(axes: Axes, table: pd.DataFrame, by: str) -> list[Line2D]:
    """Shade the values beyond training and draw ceilings below 1; returns the legend's handles."""
    first, handles = table.iloc[0], []
    ceiling = _segment_means(first["segments"], by, "ceiling")
    if ceiling and min(ceiling.values()) < 0.9995:
        handles += axes.plot(
            list(ceiling),
            list(ceiling.values()),
            color="0.6",
            linewidth=0.9,
            label="no model above",
        )
    if any(line.get_gid() == "window-ceiling" for line in axes.lines):
        handles.append(Line2D([], [], label="window's ceiling", **WINDOW_DASH))
    trained = [
        segment[by]
        for segment in first["task_options"].get("train", [])
        if isinstance(segment, dict) and by in segment
    ]
    scores = _segment_means(first["segments"], by, "accuracy")
    if trained and scores and max(scores) > max(trained):
        edge = _between(max(trained), min(x for x in scores if x > max(trained)))
        axes.axvspan(edge, 1e9, color="0.94", linewidth=0, zorder=0, gid="beyond-training")
        axes.set_xlim(*_span(scores))
        label = {"length": "longer than in training"}.get(by, "beyond training")
        axes.text(
            1, 1.01, label, transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5,
            color="0.35",
        )  # fmt: skip
    return handles


def _between(one: float, other: float) -> float:
    """The middle on the axis: geometric where both are positive."""
    return float((one * other) ** 0.5) if one > 0 else (one + other) / 2


def _span(values: Series) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low > 0:
        return low / 1.15, high * 1.15
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _value_axis(axes: Axes, by: str) -> None:
    """Label the axis; it is logarithmic where all values are positive and span a factor of 4."""
    drawn = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in axes.lines])
    if drawn.min() > 0 and drawn.max() >= 4 * drawn.min():
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel(AXES.get(by, by))
