"""Figures from a table of runs: drawn without a display, made for print."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from recall_bench import bounds
from recall_bench.errors import UserError
from recall_bench.frontier.ceilings import Setting, recall_setting, window_limit, with_ceiling
from recall_bench.frontier.experiments import one_experiment, varying
from recall_bench.frontier.intervals import heading_of
from recall_bench.frontier.pareto import frontier, standing
from recall_bench.frontier.points import as_points, not_converged
from recall_bench.frontier.segments import mean_of_segments
from recall_bench.reports.labels import annotate as annotate_points
from recall_bench.reports.style import (
    WINDOW_DASH,
    Paths,
    Style,
    legend_outside,
    mean_marker,
    memory_axis,
    new_figure,
    print_style,
    recall_axis,
    save,
    styles_of,
)
from recall_bench.reports.unmeasured import EMPTY, SHARE, draw_unmeasured, widened

__all__ = ["plot_frontier", "save"]

HOLLOW: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 0.8}
"""The look of published points."""
UNCLEAR: dict[str, Any] = {
    "marker": ".",
    "markersize": 3,
    "markerfacecolor": "white",
    "markeredgewidth": 0,
    "linestyle": "none",
    "gid": "within-noise",
}
"""The white centre of a point that noise may have put on the frontier."""


def plot_frontier(
    data: pd.DataFrame,
    path: Paths | None = None,
    *,
    experiment: str | None = None,
    title: str | None = None,
    highlight: Collection[str] | pd.DataFrame | None = None,
    highlight_label: str = "yours",
    segments: Iterable[Any] | None = None,
    values: int | None = None,
    ceiling: bool = True,
    annotate: bool = False,
    published: pd.DataFrame | None = None,
    efficiency: bool = False,
    width: float = 6.8,
) -> Figure:
    """Recall against the bytes that one sequence carries, with the frontier and its limits.

    Each point is the mean over seeds with its `intervals.interval`; each seed is a faint marker.
    The legend tells the number of seeds n, or it stands beside the points of an architecture where
    they differ. A point of the frontier with a white centre is `pareto.within_noise`; an ellipsis
    marks a point whose race of learning rates waits for runs, an arrow one whose validation loss
    still fell (`points.not_converged`).
    The shaded region lies above `bounds.mean_recall_ceiling` at 8 bits per byte: no model can reach
    it. It is drawn for MQAR, whose segments are read from the runs, or for the given ``segments``
    of (length, pairs) and ``values``; ``ceiling=False`` omits it and zooms in on the points. A dash
    above a sliding window shows the best accuracy that its window allows; a horizontal line shows
    the ceiling of the task, where the records have one below 1.

    ``data`` and ``highlight`` hold runs or points; ``highlight`` may also be a collection of run
    ids. Highlighted points are drawn on top with a dark edge and named ``highlight_label`` in the
    legend.
    ``annotate`` writes the knobs that vary beside the points. ``published`` are the points of a
    published figure (`frontier.published.points_of`), drawn hollow. ``efficiency`` writes the
    best `ceilings.with_ceiling` of each architecture into the legend. A point whose state was not
    measured is hollow, in a band at the left edge; one of zero bytes is drawn at one byte.
    ``width`` is in inches: 3.4 for a column, 6.8
    for a page. The figure is saved to ``path``, one or several (`save`).

    Raises `UserError` if nothing can be plotted or several experiments are mixed.
    """
    table = _with_highlight(as_points(data), highlight, experiment)
    table = table.assign(state_bytes=table["state_bytes"].clip(lower=1.0))
    setting = _setting(table, segments, values)
    styles = styles_of(table["architecture"])
    with print_style():
        figure, axes = new_figure(width, (0.55 if width >= 5 else 0.72) * width + 0.1, title)
        _draw_frontier(axes, table)
        if published is not None:
            _draw_published(axes, published, styles, width)
        table = table.assign(falling=not_converged(table))
        measured = table[table["state_bytes"].notna()]
        differing = _differing_seeds(table)
        for row in measured.to_dict("records"):
            _draw_point(axes, row, styles[row["architecture"]], width)
            _draw_notes(axes, row, row["architecture"] in differing)
            _draw_window(axes, row, [] if setting is None else setting[0])
        low, high = EMPTY
        if len(measured):
            low, high = measured["state_bytes"].min() / 1.7, measured["state_bytes"].max() * 1.7
        if setting is not None and ceiling:  # from where the ceiling is 0.6
            low = min(low, bounds.mean_required_bits(0.6, *setting, replacement=False) / 8)
        hidden = len(measured) < len(table)
        memory_axis(axes, widened(low, high) if hidden else low, high)
        recall_axis(axes)
        if setting is not None and ceiling:
            _draw_ceiling(axes, *setting, wide=width >= 5, left=SHARE if hidden else 0.0)
        _draw_task_ceiling(axes, table)
        if hidden:
            others = table[table["state_bytes"].isna()]
            draw_unmeasured(axes, others, styles, width, edge=low)
        handles = _legend(axes, table, styles, width, highlight_label, annotate, efficiency)
        legend_outside(figure, handles)
        if annotate:
            annotate_points(figure, axes, measured, styles)
        save(figure, path)
    return figure


def _with_highlight(
    table: pd.DataFrame, highlight: Collection[str] | pd.DataFrame | None, experiment: str | None
) -> pd.DataFrame:
    """The measured points of one experiment, the highlighted ones marked in a column ``yours``."""
    if isinstance(highlight, pd.DataFrame):
        extra = as_points(highlight)
        own = {run for runs in extra["run_ids"] for run in runs}
        table = table[[own.isdisjoint(runs) for runs in table["run_ids"]]]
        table = pd.concat([part for part in (table, extra) if len(part)] or [extra])
    else:
        own = set(highlight or ())
    table = table.assign(yours=[not own.isdisjoint(runs) for runs in table["run_ids"]])
    mine = table.loc[table["yours"], "experiment"].unique()
    table = one_experiment(table, mine[0] if experiment is None and len(mine) == 1 else experiment)
    if own and not table["yours"].any():
        raise UserError(
            f"None of the highlighted runs is a point of experiment {table['experiment'].iloc[0]}. "
            f"Expected runs of the same task, backbone and recipe."
        )
    return table


def _setting(
    table: pd.DataFrame, segments: Iterable[Any] | None, values: int | None
) -> Setting | None:
    if segments is not None and values is not None:
        return list(segments), values
    settings = [recall_setting(row) for row in table.to_dict("records")]
    return next((setting for setting in settings if setting is not None), None)


def _draw_frontier(axes: Axes, table: pd.DataFrame) -> None:
    best = frontier(table)
    if best.empty:
        return
    x, y = best["state_bytes"].tolist(), best["test_accuracy"].tolist()
    # The frontier stays level beyond its last point: a model may leave memory unused.
    axes.plot(
        [*x, 100 * x[-1]],
        [*y, y[-1]],
        drawstyle="steps-post",
        color="0.45",
        linewidth=0.9,
        zorder=2,
        label="frontier",
    )
    unclear = table[standing(table) == "within noise"]
    axes.plot(unclear["state_bytes"], unclear["test_accuracy"], zorder=7, **UNCLEAR)


def _draw_point(axes: Axes, row: Mapping[Any, Any], style: Style, width: float) -> None:
    """The mean; with several seeds also each of them, and the interval."""
    x, scores, top = row["state_bytes"], row["test_accuracies"], 6 if row["yours"] else 4
    if len(scores) > 1:
        axes.plot(
            [x] * len(scores),
            scores,
            linestyle="none",
            marker=style.marker,
            markersize=2.6,
            markeredgewidth=0,
            color=style.color,
            alpha=0.45,
            zorder=3,
        )
        low, high = row["test_accuracy_low"], row["test_accuracy_high"]
        axes.plot([x, x], [low, high], color=style.color, linewidth=1, zorder=top, gid="interval")
    axes.plot(x, row["test_accuracy"], zorder=top, **mean_marker(style, width, row["yours"]))


def _differing_seeds(table: pd.DataFrame) -> set[str]:
    """The architectures whose points have different numbers of seeds."""
    counts = table.groupby("architecture")["seeds"].nunique()
    return {str(name) for name in counts.index[counts > 1]}


def _draw_notes(axes: Axes, row: Mapping[Any, Any], count_seeds: bool) -> None:
    """The text beside a point: its number of seeds if requested, and its marks.

    An ellipsis marks a point that waits for runs, an arrow one that has not converged.
    """
    text = f"n {row['seeds']}" * count_seeds + "…" * (row["waiting"] > 0) + "↓" * row["falling"]
    if text:
        axes.annotate(
            text,
            (row["state_bytes"], row["test_accuracy"]),
            (3.5, -2.5),
            textcoords="offset points",
            va="top",
            fontsize=5,
            color="0.35",
            zorder=7,
            gid="note",
        )


def _draw_published(
    axes: Axes, published: pd.DataFrame, styles: Mapping[str, Style], width: float
) -> None:
    for row in published.to_dict("records"):
        if style := styles.get(row["architecture"]):
            look = {**mean_marker(style, width), **HOLLOW, "markeredgecolor": style.color}
            axes.plot(row["state_bytes"], row["accuracy"], gid="published", zorder=3.5, **look)


def _draw_window(axes: Axes, row: Mapping[Any, Any], segments: list[Any]) -> None:
    y = window_limit(row, segments)
    if y is not None:
        axes.plot(row["state_bytes"], y, zorder=5, gid="window-ceiling", **WINDOW_DASH)


def _draw_task_ceiling(axes: Axes, table: pd.DataFrame) -> None:
    """A line at the accuracy that no model can beat with any memory, where it is below 1."""
    ceiling = mean_of_segments(table["segments"].iloc[0], "ceiling")
    if ceiling is not None and ceiling < 0.9995:
        axes.axhline(ceiling, color="0.6", linewidth=0.7, zorder=1, gid="task-ceiling")


def _draw_ceiling(axes: Axes, segments: list[Any], values: int, wide: bool, left: float) -> None:
    """Shade the region that no model can reach; ``left`` is where its label starts, 0 to 1."""
    x = np.geomspace(*axes.get_xlim(), 400)
    y = bounds.mean_recall_ceiling(8 * x, segments, values, replacement=False)
    axes.fill_between(x, y, 2, color="0.9", linewidth=0, zorder=0, gid="unreachable")
    axes.plot(x, y, color="0.6", linewidth=0.7, zorder=1)
    label = "no model\ncan be here" if wide else "no model\ncan be\nhere"
    size = 6.5 if wide else 5.5
    axes.text(
        left + 0.012, 0.985, label, transform=axes.transAxes, va="top", fontsize=size, color="0.25"
    )


def _legend(
    axes: Axes,
    table: pd.DataFrame,
    styles: dict[str, Style],
    width: float,
    yours: str,
    annotated: bool,
    efficiency: bool,
) -> list[Line2D]:
    handles = []
    best: dict[Any, Any] = {}
    if efficiency:
        best = with_ceiling(table).groupby("architecture")["efficiency"].max().to_dict()
    differing, same = _differing_seeds(table), table["seeds"].nunique() == 1
    for mine in (True, False):
        for name in table.loc[table["yours"] == mine, "architecture"].unique():
            points = table[table["architecture"] == name]
            knobs = varying(points["knobs"])
            label = f"{name} ({yours})" if mine else name
            label += f": {'/'.join(knobs)}" if annotated and knobs else ""
            label += "" if same or name in differing else f", n {points['seeds'].iloc[0]}"
            label += f", {share:.2%}" if (share := best.get(name, np.nan)) > 0 else ""
            look = mean_marker(styles[name], width, mine)
            handles.append(Line2D([], [], linestyle="none", label=label, **look))
    gray: dict[str, Any] = {"color": "0.5", "linestyle": "none", "markeredgewidth": 0}
    if (table["seeds"] > 1).any():
        count = table["seeds"].iloc[0]
        label = f"one of {count} seeds" if same else "one of n seeds"
        handles.append(Line2D([], [], marker="o", markersize=2.6, label=label, **gray))
        gray["markeredgewidth"] = 1.0
        label = heading_of(table["interval"]).replace("95%*", "or 95%: 6 seeds")
        handles.append(Line2D([], [], marker="|", markersize=8, label=label, **gray))
    elif same:
        handles.append(Line2D([], [], linestyle="none", label="one seed each"))
    handles += [line for line in axes.lines if line.get_label() == "frontier"]
    if (standing(table) == "within noise").any():
        look = {**UNCLEAR, "marker": "o", "markeredgewidth": 1.5, "markeredgecolor": "0.5"}
        handles.append(Line2D([], [], label="within noise", **look))
    if any(text.get_gid() == "note" and "…" in text.get_text() for text in axes.texts):
        handles.append(Line2D([], [], linestyle="none", label="… waits for runs"))
    if any(text.get_gid() == "note" and "↓" in text.get_text() for text in axes.texts):
        handles.append(Line2D([], [], linestyle="none", label="↓ not converged"))
    if any(line.get_gid() == "window-ceiling" for line in axes.lines):
        handles.append(Line2D([], [], label="window's ceiling", **WINDOW_DASH))
    if any(line.get_gid() == "published" for line in axes.lines):
        look = {**HOLLOW, "marker": "o", "markersize": 6, "markeredgecolor": "0.4"}
        handles.append(Line2D([], [], linestyle="none", label="published", **look))
    if best:
        handles.append(Line2D([], [], linestyle="none", label="%: bits recalled\nper bit of state"))
    return handles
