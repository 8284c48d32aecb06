"""Writes docs/recipes.md from the presets and from the facts on the classes of architectures.

python -m recall_bench.cli.recipe_page docs/recipes.md
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recall_bench import registry
from recall_bench.architectures import Architecture
from recall_bench.architectures.facts import FAMILIES, Recipe
from recall_bench.cli.options import flag_of
from recall_bench.config import ModelConfig, TrainingConfig
from recall_bench.recipes.presets import PRESETS, Preset
from recall_bench.store.files import write_file

HEAD = """# Recipes

*`make docs` writes this page from the presets and the classes of the architectures.*

A recipe says how an architecture is built and trained, apart from its size. `--recipe` names one:

- `default` is ours, alike for all architectures: plain blocks, and layers as the class of each
  mixer describes;
- `published` is what the released code of Based's Figure 2 (HazyResearch/zoology) runs, which
  differs from the paper's text;
- `authors` is what the authors of an architecture run.

A recipe changes the backbone fields below, and how layers start. A backbone flag with another value
than the default and the recipe's is refused. Where an architecture has no recipe of that name, it
runs the default. The name of a recipe is part of a run's name.

`--block-style zoology` alone gives the block of the released code: after each mixer a second norm,
whose output joins the stream again.
"""


def page() -> str:
    """The whole page."""
    names = sorted(registry.architectures.builtin(), key=_family_and_name)
    classes = [registry.architectures.get(name) for name in names]
    parts = [
        HEAD,
        "## What each preset sets\n",
        _table(["preset", "recipe", "backbone", "training"], map(_preset, PRESETS.values())),
        "## What each preset runs\n",
        "Knobs of every architecture; lists are crossed. Other knobs have their defaults.\n",
        _table(
            ["architecture", *(f"`{name}`" for name in PRESETS)],
            (
                [_name(cls), *(_grids(cls, preset) for preset in PRESETS.values())]
                for cls in classes
            ),
        ),
        "## How recipes differ from the default\n",
        _table(
            ["architecture", "recipe", "whose", "backbone", "layers"],
            (row for cls in classes for row in _recipes(cls)),
        ),
    ]
    return "\n".join(parts)


def _family_and_name(name: str) -> tuple[int, str]:
    cls = registry.architectures.get(name)
    return FAMILIES.index(cls.family), cls.alias or cls.name


def _name(cls: type[Architecture]) -> str:
    return f"`{cls.alias or cls.name}`"


def _preset(preset: Preset) -> list[str]:
    model, training = ModelConfig(**preset.model), TrainingConfig(**preset.training)
    rates = ", ".join(f"{rate:g}" for rate in preset.learning_rates)
    backbone = {
        "norm": model.norm,
        "embedding_dropout": model.embedding_dropout,
        "block_style": model.block_style,
    }
    recipe = {
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "order": training.order,
        "weight_decay": training.weight_decay,
        "early_stop": "none" if training.early_stop is None else training.early_stop,
        "precision": training.precision,
    }
    return [
        f"`{preset.name}`",
        f"`{model.recipe}`",
        _flags(backbone),
        f"{_flags(recipe)}; rates {rates}",
    ]


def _grids(cls: type[Architecture], preset: Preset) -> str:
    grids = cls.grids.get(preset.grids_of or preset.name, [])
    return "; or ".join(_values(grid) for grid in grids) or "defaults"


def _values(grid: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{knob} {' '.join(map(str, values))}" for knob, values in grid.items())


def _recipes(cls: type[Architecture]) -> list[list[str]]:
    rows = []
    for name in ("published", "authors"):
        recipe: Recipe | None = cls.recipe_named(name)
        if recipe:
            cells = [recipe.source, _flags(recipe.backbone), recipe.layer or "as ours"]
            rows.append([_name(cls), f"`{name}`", *cells])
    return rows


def _flags(fields: Mapping[str, Any]) -> str:
    return " ".join(f"`{flag_of(name)} {value}`" for name, value in fields.items()) or "as ours"


def _table(headings: list[str], rows: Iterable[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Write the page to the file that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("Expected one file: python -m recall_bench.cli.recipe_page docs/recipes.md")
    write_file(Path(sys.argv[1]), page().encode())


if __name__ == "__main__":
    main()
