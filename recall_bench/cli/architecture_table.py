"""Writes the README's table of architectures from the facts on their classes."""

import sys
from pathlib import Path

from recall_bench import registry
from recall_bench.architectures import Architecture
from recall_bench.architectures.facts import FAMILIES
from recall_bench.cli.catalogue import summary
from recall_bench.errors import UserError
from recall_bench.recipes.presets import PRESETS
from recall_bench.store.files import write_file

BEGIN, END = "<!-- architectures: written by `make docs` -->", "<!-- end of architectures -->"


def table() -> str:
    """One row per built-in architecture, ordered by family and name."""
    classes = [registry.architectures.get(name) for name in registry.architectures.builtin()]
    classes.sort(key=lambda cls: (FAMILIES.index(cls.family), cls.alias or cls.name))
    lines = ["| name | family | what it is | knobs of the state | paper |", "|" + " --- |" * 5]
    return "\n".join([*lines, *map(_row, classes)])


def _row(cls: type[Architecture]) -> str:
    name = f"`{cls.alias}`, `{cls.name}` in records" if cls.alias else f"`{cls.name}`"
    knobs = ", ".join(f"`{knob}`" for knob in state_knobs(cls))
    paper = f"[{cls.source.arxiv}]({cls.source.url})" if cls.source else ""
    cells = [name, cls.family.replace("_", " "), summary(cls).rstrip("."), knobs, paper]
    return f"| {' | '.join(cells)} |"


def state_knobs(cls: type[Architecture]) -> list[str]:
    """The knobs that presets vary; the width counts only if they vary nothing else.

    If presets vary nothing, the integers among an architecture's own fields.
    """
    grids = [preset.knobs(cls.name) for preset in PRESETS.values()]
    varied = {knob for grid in grids for knob, values in grid.items() if len(values) > 1}
    if chosen := varied - {"d_model"} or varied:
        return [knob for knob in cls.model_fields if knob in chosen]
    own = cls.model_fields.keys() - Architecture.model_fields.keys()
    return [
        knob for knob, field in cls.model_fields.items() if knob in own and field.annotation is int
    ]


def with_table(text: str) -> str:
    """The README with its table replaced; raises `UserError` without the two marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"Expected the lines {BEGIN} and {END} around the table.")
    return f"{before}{begin}\n\n{table()}\n\n{end}{after}"


def main() -> None:
    """Rewrite the table in the file that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("Expected one file: python -m recall_bench.cli.architecture_table README.md")
    file = Path(sys.argv[1])
    write_file(file, with_table(file.read_text("utf-8")).encode())


if __name__ == "__main__":
    main()
