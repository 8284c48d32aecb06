"""A suite's summary as a grid: one row per task and one for the mean, one column per model."""

from dataclasses import dataclass

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
    seeds: tuple[int, int] | None = None
    """The fewest and the most of a setting; None for a published score."""
    waiting: bool = False
    """Whether a learning rate in the race of a setting waits for runs."""

    def __str__(self) -> str:
        return f"{self.accuracy:.3f}{self.marks}"

    @property
    def marks(self) -> str:
        """An asterisk where settings are missing, an ellipsis where a race waits for runs."""
        return "*" * (self.settings < self.of) + "…" * self.waiting

    @property
    def count(self) -> str:
        """The number of seeds, "n 3", or the fewest and the most, "n 1-3"."""
        low, high = self.seeds or (1, 1)
        return f"n {low}" if low == high else f"n {low}-{high}"


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

    @property
    def apart(self) -> bool:
        """Whether the published scores measure something else than ours, and stand apart."""
        return bool(self.suite.published_otherwise)

    @property
    def ours(self) -> list[Model]:
        """The models that were run."""
        return [model for model in self.models if not model.published]

    @property
    def papers(self) -> list[Model]:
        """The published models."""
        return [model for model in self.models if model.published]

    def adjusted(self, column: str, accuracy: float) -> float:
        """An accuracy adjusted for chance: 0 for guessing and below, 1 for the ceiling."""
        chance, ceiling = self.chance.get(column, 0.0), self.ceiling.get(column, 1.0)
        return min(1.0, max(0.0, (accuracy - chance) / max(ceiling - chance, 1e-9)))

    def adjusted_mean(self, model: Model) -> float | None:
        """The mean of the adjusted accuracies; None where one is missing or not complete.

        None also for a published model whose scores measure something else: its chance is unknown.
        """
        if model.mean(self.columns) is None or (model.published and self.apart):
            return None
        shares = [self.adjusted(name, model.cells[name].accuracy) for name in self.columns]
        return sum(shares) / len(shares)

    def same_seeds(self) -> str | None:
        """The number of seeds of all cells of ours, "n 3"; None where it differs."""
        counts = {cell.count for model in self.ours for cell in model.cells.values()}
        return counts.pop() if len(counts) == 1 else None

    def spread(self, column: str) -> float | None:
        """The best minus the worst accuracy of our models; None for fewer than two models."""
        scores = [m.cells[column].accuracy for m in self.ours if column in m.cells]
        return max(scores) - min(scores) if len(scores) > 1 else None

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
                row["column"]: Cell(
                    row["test_accuracy"],
                    row["settings"],
                    row["of"],
                    (row["seeds"], row["most_seeds"]),
                    row["waiting"] > 0,
                )
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
    """Headings and rows of text: the tasks, then the mean and the mean adjusted for chance.

    Published models that stand apart (`Grid.apart`) are in `published_rows`.
    """
    models = grid.ours if grid.apart else grid.models
    headings = ["task", *(f"{m.name} (paper)" if m.published else m.name for m in models)]
    limited = any(value < 0.9995 for value in grid.ceiling.values())
    spreads = len(grid.ours) > 1
    headings += ["chance", *["ceiling"] * limited, *["spread"] * spreads]
    counted = grid.same_seeds() is None
    lines = []
    for column in grid.columns:
        cells = [_text(model.cells.get(column), counted) for model in models]
        cells.append(_number(grid.chance.get(column)))
        cells += [_number(grid.ceiling.get(column))] * limited
        spread, mark = grid.spread(column), "!" * grid.flat(column)
        cells += ["-" if spread is None else f"{spread:.2f}{mark}"] * spreads
        lines.append([column, *cells])
    means = {
        "mean": [model.mean(grid.columns) for model in models],
        "adjusted mean": [grid.adjusted_mean(model) for model in models],
    }
    for name, values in means.items():
        lines.append([name, *map(_number, values), *[""] * (len(headings) - len(values) - 1)])
    return headings, lines


def published_rows(grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the published models that stand apart, the last row their mean."""
    headings = ["task", *(model.name for model in grid.papers)]
    lines = [
        [column, *(_text(model.cells.get(column), False) for model in grid.papers)]
        for column in grid.columns
    ]
    lines.append(["mean", *(_number(model.mean(grid.columns)) for model in grid.papers)])
    return headings, lines


def legend(grid: Grid) -> list[str]:
    """Explains the numbers and the marks that occur in `rows`."""
    cells = [cell for model in grid.ours for cell in model.cells.values()]
    flat = [name for name in grid.columns if grid.flat(name)]
    count = grid.same_seeds()
    seeds = (
        "n seeds per cell"
        if count is None
        else {"n 1": "one seed"}.get(count, f"mean over {count[2:]} seeds")
    )
    lines = [
        f"Accuracy on test, {seeds}; learning rate and weight decay chosen on validation.",
        "The adjusted mean sets guessing to 0 and the ceiling to 1 in each task.",
    ]
    if any(cell.settings < cell.of for cell in cells):
        lines.append("* not all settings have run yet; no mean is given.")
    if any(cell.waiting for cell in cells):
        lines.append("… a rate in the race waits for runs: the score may still change.")
    if flat:
        lines.append(f"! less than {SEPARATION} between best and worst: {', '.join(flat)}.")
    return lines


def _text(cell: Cell | None, counted: bool) -> str:
    """A cell of a table, with its number of seeds where they differ."""
    if cell is None:
        return "-"
    return f"{cell} ({cell.count})" if counted and cell.seeds else str(cell)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
