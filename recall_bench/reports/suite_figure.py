"""A suite's grid as a heat map: tasks by models."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recall_bench.recipes.suites.grid import Grid, Model
from recall_bench.reports.style import Paths, new_figure, print_style, save

CELL = (0.62, 0.27)
"""Width and height of a cell, inches."""


def heat_map(grid: Grid, path: Paths | None = None, *, title: str | None = None) -> Figure:
    """Accuracy in every cell; its colour shows how far it lies between guessing and the ceiling.

    Models are sorted by their mean if all have one. Published models are set apart, in italics.
    """
    ours = [model for model in grid.models if not model.published]
    papers = [model for model in grid.models if model.published]
    if all(model.mean(grid.columns) is not None for model in ours):
        ours.sort(key=lambda model: -(model.mean(grid.columns) or 0.0))
    models: list[Model | None] = [*ours, *([None] if papers else []), *papers]
    lines = [*grid.columns, "mean"]
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
                dark = colours[y, x] < 0.55
                axes.text(
                    x, y, text, ha="center", va="center", fontsize=6.5, color="w" if dark else "k"
                )
        image = axes.imshow(colours, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        axes.axhline(len(grid.columns) - 0.5, color="white", linewidth=2)
        _label(axes, models, lines)
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels(["guess", "ceiling"])
        bar.outline.set_visible(False)
        save(figure, path)
    return figure


def _cell(grid: Grid, model: Model, line: str) -> tuple[float, str]:
    """The colour, 0 to 1 or NaN, and the text of one cell."""
    if line == "mean":
        mean = model.mean(grid.columns)
        shares = [_share(grid, column, model.cells[column].accuracy) for column in model.cells]
        return (np.nan, "") if mean is None else (float(np.mean(shares)), f"{mean:.2f}")
    if line not in model.cells:
        return np.nan, ""
    cell = model.cells[line]
    return _share(grid, line, cell.accuracy), f"{cell.accuracy:.2f}" + str(cell)[5:]


def _share(grid: Grid, column: str, accuracy: float) -> float:
    chance, ceiling = grid.chance.get(column, 0.0), grid.ceiling.get(column, 1.0)
    return float(np.clip((accuracy - chance) / max(ceiling - chance, 1e-9), 0, 1))


def _label(axes: Axes, models: list[Model | None], lines: list[str]) -> None:
    axes.set_xticks(range(len(models)))
    names = ["published:" if model is None else model.name for model in models]
    axes.set_xticklabels(names, rotation=35, ha="left", rotation_mode="anchor")
    for label, model in zip(axes.get_xticklabels(), models, strict=True):
        label.set_fontstyle("italic" if model is None or model.published else "normal")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(lines)))
    axes.set_yticklabels(lines)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
