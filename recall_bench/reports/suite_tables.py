"""A suite's grid as tables for a terminal, or as one in Markdown."""

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.recipes.suites.grid import Grid, legend, rows

WIDTH = 80
"""Columns of a terminal: what does not fit goes into a table below."""
GAP = 1


def table(found: Grid) -> Group:
    """One row a task, one column a model; the last row is the mean."""
    headings, lines = rows(found)
    heads = [heading.replace(" ", "\n").replace("-", "-\n") for heading in headings[1:]]
    labels = [headings[0], *(line[0] for line in lines)]
    parts: list[Table | Text] = [Text(found.suite.description, "bold")]
    for chunk in _chunks([_width(head) for head in heads], WIDTH - max(map(len, labels))):
        shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        shown.add_column(headings[0], no_wrap=True, vertical="bottom")
        for at in chunk:
            shown.add_column(heads[at], justify="right", no_wrap=True, vertical="bottom")
        for line in lines:
            style = "bold" if line is lines[-1] else ""
            shown.add_row(line[0], *(line[1 + at] for at in chunk), style=style)
        parts += [shown, Text()]
    return Group(*parts, *(Text(line) for line in legend(found)))


def markdown(found: Grid) -> str:
    """The same as a table in Markdown."""
    headings, lines = rows(found)
    body = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    table = "\n".join(f"| {' | '.join(line)} |" for line in body)
    return "\n".join([table, "", *legend(found)])


def _width(heading: str) -> int:
    """Of a column with a heading of several lines; a cell is at most "0.123*"."""
    return GAP + max(6, *(len(line) for line in heading.split("\n")))


def _chunks(widths: list[int], room: int) -> Iterator[list[int]]:
    """Indices of columns that stand beside each other."""
    chunk: list[int] = []
    for at, width in enumerate(widths):
        if chunk and sum(widths[i] for i in chunk) + width > room:
            yield chunk
            chunk = []
        chunk.append(at)
    yield chunk
