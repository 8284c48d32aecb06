"""A suite's grid as a table for a terminal, or in Markdown."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from recall_bench.suites.grid import Grid, legend, rows


def table(found: Grid) -> Group:
    """One row a task, one column a model; the last row is the mean."""
    headings, lines = rows(found)
    shown = Table(box=None, pad_edge=False, title=found.suite.description, title_justify="left")
    shown.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        shown.add_column(heading, justify="right", overflow="fold")
    for line in lines[:-1]:
        shown.add_row(*line)
    shown.add_section()
    shown.add_row(*lines[-1], style="bold")
    return Group(shown, *(Text(line) for line in legend(found)))


def markdown(found: Grid) -> str:
    """The same as a table in Markdown."""
    headings, lines = rows(found)
    body = [headings, ["---", *["---:"] * (len(headings) - 1)], *lines]
    table = "\n".join(f"| {' | '.join(line)} |" for line in body)
    return "\n".join([table, "", *legend(found)])
