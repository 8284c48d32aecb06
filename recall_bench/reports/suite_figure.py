"""A suite's grid as a heat map: tasks by models."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recall_bench.recipes.suites.grid import Grid, Model
from recall_bench.reports.style import Paths, new_figure, print_style, save

CELL = (0.62, 0.27)
"""Width and height of a cell, inches."""
MEAN = "adjusted mean"
"""The last row: of the colours, and not of the accuracies that the cells say."""


def heat_map(grid: Grid, path: Paths | None = None, *, title: str | None = None) -> Figure:
    """Accuracy in every cell, coloured by `Grid.adjusted`: 0 for guessing, 1 for the ceiling.

    The last row is the mean of the adjusted accuracies, by which our models are sorted where all
    have one. Published models stand beyond a gap, in italics. Where their scores measure something
    else (`Grid.apart`) they are text without colour, and their last row is the mean accuracy.
    Cells say their number of seeds where it differs, the label of the colours says it elsewhere.
    """
    ours = grid.ours
    if all(grid.adjusted_mean(model) is not None for model in ours):
        ours.sort(key=lambda model: -(grid.adjusted_mean(model) or 0.0))
    models: list[Model | None] = [*ours, *([None] if grid.papers else []), *grid.papers]
    lines = [*grid.columns, MEAN]
    longest = max(len(line) for line in lines)
    width = 0.3 + 0.062 * longest + CELL[0] * len(models) + 0.9
    height = 1.25 + CELL[1] * len(lines)
    with print_style():
        figure, axes = new_figure(width, height, title)
        colours = np.full((len(lines), len(models)), np.nan)
        for x, model in enumerate(models):
            for y, line in enumerate(lines):
                if model is None:
                    continue
                colours[y, x], text = _cell(grid, model, line)
                color = "w" if colours[y, x] < 0.55 else "k"
                size = 5 if "\n" in text else 6.5
                axes.text(x, y, text, ha="center", va="center", fontsize=size, color=color)
        image = axes.imshow(colours, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.axhline(len(grid.columns) - 0.5, color="white", linewidth=2)
        _label(axes, grid, models, lines)
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels(["guess", "ceiling"])
        bar.outline.set_visible(False)
        count = grid.same_seeds()
        cells = "cells: accuracy" + (f", {count}" if count else "")
        bar.set_label(f"{cells}\ncolour: adjusted for chance", fontsize=6.5)
        save(figure, path)
    return figure


def _cell(grid: Grid, model: Model, line: str) -> tuple[float, str]:
    """The colour, 0 to 1 or NaN, and the text of one cell."""
    colourless = model.published and grid.apart
    if line == MEAN:
        if colourless:
            mean = model.mean(grid.columns)
            return np.nan, "" if mean is None else f"{mean:.2f}"
        share = grid.adjusted_mean(model)
        return (np.nan, "") if share is None else (share, f"{share:.2f}")
    if line not in model.cells:
        return np.nan, ""
    cell = model.cells[line]
    text = f"{cell.accuracy:.2f}{cell.marks}"
    if cell.seeds and grid.same_seeds() is None:
        text += f"\n{cell.count}"
    return np.nan if colourless else grid.adjusted(line, cell.accuracy), text


def _label(axes: Axes, grid: Grid, models: list[Model | None], lines: list[str]) -> None:
    axes.set_xticks(range(len(models)))
    apart = "published, harder:" if grid.apart else "published:"
    names = [apart if model is None else model.name for model in models]
    axes.set_xticklabels(names, rotation=35, ha="left", rotation_mode="anchor")
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    for label, model in zip(axes.get_xticklabels(), models, strict=True):
        label.set_fontstyle("italic" if model is None or model.published else "normal")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(lines)))
    axes.set_yticklabels(lines)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if grid.apart and grid.papers:
        edge = models.index(None)
        axes.text(
            edge + 0.5 + len(grid.papers) / 2,
            len(lines) - 0.35,
            f"{grid.suite.published_otherwise};\nlast row: mean accuracy",
            ha="center",
            va="top",
            fontsize=6,
            color="0.35",
            gid="published-otherwise",
        )
