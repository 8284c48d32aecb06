from pathlib import Path

from recall_bench import registry
from recall_bench.cli.recipe_page import page
from recall_bench.recipes.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_page_in_the_repository_is_what_make_docs_writes() -> None:
    assert PAGE.read_text("utf-8") == page()


def test_every_preset_architecture_and_recipe_has_its_row() -> None:
    text = page()
    for name in PRESETS:
        assert text.count(f"| `{name}` | `default` |") == 1
    for name in registry.architectures.builtin():
        cls = registry.architectures.get(name)
        shown = cls.alias or cls.name
        assert text.count(f"| `{shown}` | ") >= 1
        for recipe in ("published", "authors"):
            rows = text.count(f"| `{shown}` | `{recipe}` |")
            assert rows == (cls.recipe_named(recipe) is not None)


def test_the_second_quick_preset_runs_the_points_of_the_first() -> None:
    first, second = PRESETS["quick"], PRESETS["quick2"]
    for name in registry.architectures.builtin():
        assert first.knob_settings(name, {}) == second.knob_settings(name, {})
    assert first.tasks == second.tasks
    assert second.options("induction") == first.options("induction")
    assert second.model == {"embedding_dropout": 0.0}
