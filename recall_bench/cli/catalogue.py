"""Lists architectures and tasks with their options, suites, and presets."""

import inspect

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recall_bench import registry
from recall_bench.architectures import Architecture
from recall_bench.cli import options
from recall_bench.config import Component
from recall_bench.errors import UserError, nearest
from recall_bench.recipes import presets
from recall_bench.recipes.suites import SUITES


def print_entry(console: Console, name: str) -> None:
    """Print an architecture or task with its options; raises `UserError` for an unknown name."""
    kinds = (registry.architectures, registry.tasks)
    kind = next((kind for kind in kinds if kind.find(name)), None)
    if kind is None:
        known = [known for kind in kinds for known in kind]
        raise UserError(f"Unknown architecture or task '{name}'. {nearest(name, known)}")
    cls = kind.get(name)
    _entry(console, _names(cls), summary(cls), _options(cls))
    if source := getattr(cls, "source", None):
        console.print(Text(f"{source.title}, {source.url}"))


def print_catalogue(console: Console) -> None:
    """Print everything registered, including plugins; tasks without their options."""
    _title(console, "Architectures")
    _entry(console, "", "Every architecture has", _options(Architecture))
    for name in registry.architectures:
        cls = registry.architectures.get(name)
        _entry(console, _names(cls), summary(cls), _options(cls, beyond=Architecture))
    _title(console, "Tasks")
    table = _columns()
    for name in registry.tasks:
        table.add_row(Text(name, "bold"), Text(summary(registry.tasks.get(name))))
    console.print(Padding(table, (0, 0, 1, 0)))
    hint = "`recall-bench show TASK` explains a task, `recall-bench list TASK` lists its options."
    console.print(Text(hint), end="\n\n")
    _title(console, "Suites")
    table = _columns()
    for name, description in SUITES.items():
        table.add_row(Text(name, "bold"), Text(description))
    console.print(Padding(table, (0, 0, 1, 0)))
    _title(console, "Presets")
    table = _columns()
    for name, preset in presets.PRESETS.items():
        table.add_row(Text(name, "bold"), Text(preset.description))
    console.print(table)


def _title(console: Console, title: str) -> None:
    console.print(Text(title.upper(), "bold"), end="\n\n")


def _entry(console: Console, name: str, summary: str, table: Table) -> None:
    console.print(Text.assemble((name, "bold"), ": " if name else "", summary))
    console.print(Padding(table, (0, 0, 1, 2)))


def _names(cls: type[Component]) -> str:
    """The name of a class, and the one in its records if that differs."""
    return f"{cls.alias} (in records {cls.name})" if cls.alias else cls.name


def summary(cls: type) -> str:
    """The first line of a class's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0].replace("``", "")


def _options(cls: type[Component], beyond: type[Component] | None = None) -> Table:
    """Flags and meanings of the fields, except those that ``beyond`` has with equal defaults."""
    known = {} if beyond is None else beyond.model_fields
    table = _columns()
    for field, info in cls.model_fields.items():
        if field not in known or known[field].default != info.default:
            flag = f"{options.flag_of(field)} {options.type_name(info.annotation)}"
            table.add_row(Text(flag), Text(options.describe(info, info.default)))
    return table


def _columns() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    return table
