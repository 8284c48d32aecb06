"""A suite's grid as tables for a terminal, or as one Markdown table."""

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.recipes.suites.grid import Grid, legend, published_rows, rows

WIDTH = 80
"""Columns of a terminal; models that do not fit go into a table below."""
GAP = 1


def table(grid: Grid) -> Group:
    """One row per task, one column per model; the last rows are means."""
    parts: list[Table | Text] = [Text(grid.suite.description, "bold")]
    parts += _parts(*rows(grid))
    parts += [Text(line) for line in legend(grid)]
    if grid.apart and grid.papers:
        parts += [Text(), Text(_apart(grid), "bold"), *_parts(*published_rows(grid))]
    return Group(*parts)


def markdown(grid: Grid) -> str:
    """The same as tables in Markdown."""
    parts = [_markdown(*rows(grid)), "", *legend(grid)]
    if grid.apart and grid.papers:
        parts += ["", f"{_apart(grid)}:", "", _markdown(*published_rows(grid))]
    return "\n".join(parts)


def _apart(grid: Grid) -> str:
    return f"Published, but not comparable: {grid.suite.published_otherwise}"


def _parts(headings: list[str], lines: list[list[str]]) -> Iterator[Table | Text]:
    """A table, or several that fit the terminal, with an empty line after each."""
    heads = [heading.replace(" ", "\n").replace("-", "-\n") for heading in headings[1:]]
    labels = [headings[0], *(line[0] for line in lines)]
    widths = [_width(head, [line[1 + index] for line in lines]) for index, head in enumerate(heads)]
    for chunk in _chunks(widths, WIDTH - max(map(len, labels))):
        shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        shown.add_column(headings[0], no_wrap=True, vertical="bottom")
        for index in chunk:
            shown.add_column(heads[index], justify="right", no_wrap=True, vertical="bottom")
        for line in lines:
            style = "bold" if line[0].endswith("mean") else ""
            shown.add_row(line[0], *(line[1 + index] for index in chunk), style=style)
        yield shown
        yield Text()


def _markdown(headings: list[str], lines: list[list[str]]) -> str:
    body = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in body)


def _width(heading: str, cells: list[str]) -> int:
    """The width of a column whose heading has several lines."""
    return GAP + max(map(len, [*heading.split("\n"), *cells]))


def _chunks(widths: list[int], room: int) -> Iterator[list[int]]:
    """Indices of the columns of each table, so that it fits into ``room``."""
    chunk: list[int] = []
    for index, width in enumerate(widths):
        if chunk and sum(widths[i] for i in chunk) + width > room:
            yield chunk
            chunk = []
        chunk.append(index)
    yield chunk
