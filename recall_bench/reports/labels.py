"""Labels beside points, placed where they overlap nothing."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from recall_bench.frontier.experiments import varying
from recall_bench.reports.style import Style

OFFSETS = [
    (distance * dx, distance * dy)
    for distance in (1.0, 1.5, 2.2)
    for dx, dy in [(6, 0), (-6, 0), (0, 7), (0, -7), (5, 5), (5, -5), (-5, 5), (-5, -5)]
]
"""Candidate offsets of a label, in points, nearest first."""


def annotate(figure: Figure, axes: Axes, table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Write the values of an architecture's varying knobs beside its points, joined by ``/``.

    A label is omitted if at every offset it would overlap something or lie closer to another point
    of its architecture.
    """
    figure.draw_without_rendering()
    taken = _occupied(figure, axes)
    for name, group in table.groupby("architecture"):
        color = tuple(0.6 * part for part in to_rgb(styles[str(name)].color))
        points = group[["state_bytes", "test_accuracy"]].to_numpy(dtype=float)
        knobs, names = group["knobs"], varying(group["knobs"])
        for index, knob in enumerate(knobs if names else []):
            text = "/".join(str(knob.get(name)) for name in names)
            _place(axes, text, points, index, taken, color)


def _place(
    axes: Axes, text: str, points: np.ndarray, index: int, taken: list[Bbox], color: Any
) -> None:
    """Put text beside ``points[index]`` at the first free offset, and add its box to ``taken``."""
    inside, pixels = axes.get_window_extent(), axes.transData.transform(points)
    for dx, dy in OFFSETS:
        label = axes.annotate(
            text,
            tuple(points[index]),
            (dx, dy),
            textcoords="offset points",
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="bottom" if dy > 0 else "top" if dy < 0 else "center",
            fontsize=5.5,
            color=color,
            zorder=7,
            parse_math=False,
        )
        box = label.get_window_extent()
        fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
        gaps = np.hypot(*(np.clip(pixels, box.min, box.max) - pixels).T)
        if fits and gaps[index] <= gaps.min() and not any(map(box.overlaps, taken)):
            taken.append(box)
            return
        label.remove()


def _occupied(figure: Figure, axes: Axes) -> list[Bbox]:
    """Boxes in pixels around every text, marker, interval and piece of a line."""
    boxes = [text.get_window_extent() for text in axes.texts]
    for line in axes.lines:
        corners = axes.transData.transform(line.get_xydata())
        if line.get_marker() != "None":
            half = line.get_markersize() * figure.dpi / 72 / 2
            boxes += [_box(corner - half, corner + half) for corner in corners]
        if line.get_linestyle() != "None":
            for start, end in itertools.pairwise(corners):
                level = line.get_drawstyle() == "steps-post"
                corner = np.array([end[0], start[1]]) if level else end
                boxes += [_box(start, corner), _box(corner, end)]
    return boxes


def _box(one: np.ndarray, other: np.ndarray) -> Bbox:
    """The box between two corners, a pixel larger on every side."""
    return Bbox([np.minimum(one, other) - 1, np.maximum(one, other) + 1])
