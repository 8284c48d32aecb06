"""A suite's grid as tables for a terminal, or as one Markdown table."""

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.recipes.suites.grid import Grid, legend, rows

WIDTH = 80
"""Columns of a terminal; models that do not fit go into a table below."""
GAP = 1


def table(grid: Grid) -> Group:
    """One row per task, one column per model; the last row is the mean."""
    headings, lines = rows(grid)
    heads = [heading.replace(" ", "\n").replace("-", "-\n") for heading in headings[1:]]
    labels = [headings[0], *(line[0] for line in lines)]
    parts: list[Table | Text] = [Text(grid.suite.description, "bold")]
    for chunk in _chunks([_width(head) for head in heads], WIDTH - max(map(len, labels))):
        shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        shown.add_column(headings[0], no_wrap=True, vertical="bottom")
        for index in chunk:
            shown.add_column(heads[index], justify="right", no_wrap=True, vertical="bottom")
        for line in lines:
            style = "bold" if line is lines[-1] else ""
            shown.add_row(line[0], *(line[1 + index] for index in chunk), style=style)
        parts += [shown, Text()]
    return Group(*parts, *(Text(line) for line in legend(grid)))


def markdown(grid: Grid) -> str:
    """The same as a table in Markdown."""
    headings, lines = rows(grid)
    body = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    table = "\n".join(f"| {' | '.join(line)} |" for line in body)
    return "\n".join([table, "", *legend(grid)])


def _width(heading: str) -> int:
    """The width of a column whose heading has several lines; cells are at most "0.123*"."""
    return GAP + max(6, *(len(line) for line in heading.split("\n")))


def _chunks(widths: list[int], room: int) -> Iterator[list[int]]:
    """Indices of the columns of each table, so that it fits into ``room``."""
    chunk: list[int] = []
    for index, width in enumerate(widths):
        if chunk and sum(widths[i] for i in chunk) + width > room:
            yield chunk
            chunk = []
        chunk.append(index)
    yield chunk
