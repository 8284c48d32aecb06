"""Points whose state was not measured: hollow markers in a band at the left edge of the axes."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from recall_bench.reports.style import Style, bytes_text, mean_marker

SHARE = 0.09
"""The width of the band, as a share of the axes."""
EMPTY = (1e3, 1e5)
"""Limits of the axis of bytes if no point has a measured state."""


def widened(low: float, high: float) -> float:
    """The lower limit of an axis from ``low`` to ``high`` bytes that leaves room for the band."""
    return float(low / (high / low) ** (SHARE / (1 - SHARE)))


def draw_unmeasured(
    axes: Axes, points: pd.DataFrame, styles: Mapping[str, Style], width: float, edge: float
) -> None:
    """Draw points at their recall in the band left of ``edge`` bytes, and label the band."""
    low = axes.get_xlim()[0]
    middle = (low * edge) ** 0.5
    axes.axvspan(low, edge, color="white", linewidth=0, zorder=1.5, gid="unmeasured-band")
    axes.axvline(edge, color="0.6", linewidth=0.7, linestyle=":", zorder=2)
    axes.text(
        middle,
        0.5,
        "state not measured",
        rotation=90,
        ha="center",
        va="center",
        fontsize=6.5 if width >= 5 else 5.5,
        color="0.45",
        zorder=2,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: bytes_text(x) if x >= edge else ""))
    for row in points.to_dict("records"):
        style = styles[row["architecture"]]
        look = mean_marker(style, width, row["yours"])
        look |= {"markerfacecolor": "none", "markeredgewidth": 1.1, "markeredgecolor": style.color}
        axes.plot(middle, row["test_accuracy"], zorder=6, gid="unmeasured", **look)
