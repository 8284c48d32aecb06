"""A suite's summary as a grid: one row per task and one for the mean, one column per model."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from recall_bench.frontier.experiments import varying
from recall_bench.recipes.suites.base import Suite

SEPARATION = 0.1
"""A significant difference in accuracy: several standard errors of the suites' test sets."""


@dataclass(frozen=True)
class Cell:
    """A mean accuracy over ``settings`` of the column's ``of`` settings."""

    accuracy: float
    settings: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.accuracy:.3f}" + ("" if self.settings == self.of else "*")


@dataclass(frozen=True)
class Model:
    """A column: one of our points, or a published model."""

    name: str
    cells: dict[str, Cell]
    published: bool = False

    def mean(self, columns: list[str]) -> float | None:
        """The mean over all columns; None if one is missing or incomplete."""
        cells = [self.cells.get(column) for column in columns]
        whole = [cell.accuracy for cell in cells if cell and cell.settings == cell.of]
        return sum(whole) / len(whole) if len(whole) == len(columns) else None


@dataclass(frozen=True)
class Grid:
    """The content of a suite's table or heat map."""

    suite: Suite
    models: list[Model]
    chance: dict[str, float]
    ceiling: dict[str, float]

    @property
    def columns(self) -> list[str]:
        """The tasks that have a score, in the order of the suite."""
        return [name for name in self.suite.columns if any(name in m.cells for m in self.models)]

    def spread(self, column: str) -> float | None:
        """The best minus the worst accuracy of our models; None for fewer than two models."""
        ours = [
            m.cells[column].accuracy for m in self.models if not m.published and column in m.cells
        ]
        return max(ours) - min(ours) if len(ours) > 1 else None

    def flat(self, column: str) -> bool:
        """Whether the task fails to separate our models."""
        spread = self.spread(column)
        return spread is not None and spread < SEPARATION


def grid(summary: pd.DataFrame, suite: Suite) -> Grid:
    """The grid of a `suites.scores.summary`; published counterparts follow their models."""
    models: list[Model] = []
    for name, family in summary.groupby("architecture", sort=False):
        names = varying(family["knobs"])
        for _, group in family.groupby("knobs_key", sort=False):
            values = group["knobs"].iloc[0]
            label = " ".join([str(name), *(f"{knob}={values.get(knob)}" for knob in names)])
            cells = {
                row["column"]: Cell(row["test_accuracy"], row["settings"], row["of"])
                for row in group.to_dict("records")
            }
            models.append(Model(label, cells))
        if paper := suite.counterpart(str(name)):
            models.append(_published(paper, suite))
    shown = {model.name for model in models}
    models += [_published(paper, suite) for paper in suite.published if paper not in shown]
    chance, ceiling = (_by_column(summary, limit) for limit in ("chance", "ceiling"))
    return Grid(suite, models, chance, ceiling)


def _by_column(summary: pd.DataFrame, limit: str) -> dict[str, float]:
    means = summary.groupby("column")[limit].mean().dropna()
    return {str(column): float(value) for column, value in means.items()}


def _published(name: str, suite: Suite) -> Model:
    cells = {column: Cell(value) for column, value in suite.published[name].items()}
    return Model(name, cells, published=True)


def rows(grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text: the tasks, then the mean."""
    headings = ["task", *(f"{m.name} (paper)" if m.published else m.name for m in grid.models)]
    limited = any(value < 0.9995 for value in grid.ceiling.values())
    spreads = sum(not model.published for model in grid.models) > 1
    headings += ["chance", *["ceiling"] * limited, *["spread"] * spreads]
    lines = []
    for column in grid.columns:
        cells: list[Any] = [model.cells.get(column, "-") for model in grid.models]
        cells.append(_number(grid.chance.get(column)))
        cells += [_number(grid.ceiling.get(column))] * limited
        spread, mark = grid.spread(column), "!" * grid.flat(column)
        cells += ["-" if spread is None else f"{spread:.2f}{mark}"] * spreads
        lines.append([column, *map(str, cells)])
    means = [_number(model.mean(grid.columns)) for model in grid.models]
    lines.append(["mean", *means, *[""] * (len(headings) - len(means) - 1)])
    return headings, lines


def legend(grid: Grid) -> list[str]:
    """Explanations of the marks that occur in `rows`."""
    incomplete = any(
        cell.settings < cell.of for model in grid.models for cell in model.cells.values()
    )
    flat = [name for name in grid.columns if grid.flat(name)]
    lines = ["Accuracy on test at the learning rate and weight decay best on validation."]
    if incomplete:
        lines.append("* not all settings have run yet; no mean is given.")
    if flat:
        lines.append(f"! less than {SEPARATION} between best and worst: {', '.join(flat)}.")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
