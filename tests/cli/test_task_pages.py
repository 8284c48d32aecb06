"""docs/tasks.md is what the tasks say today."""

from pathlib import Path

import pytest

from recall_bench import registry
from recall_bench.cli.task_pages import GOLDEN, golden, page
from recall_bench.tasks import generate

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "tasks have changed: run `make docs`"


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_example_asks_something_and_is_short(name: str) -> None:
    examples = generate(golden(name), "train", 0, 0)
    assert examples.inputs.shape[1] <= 40
    assert (examples.labels >= 0).any()


def test_every_built_in_task_has_a_section() -> None:
    headings = [line[3:] for line in PAGE.read_text().splitlines() if line.startswith("## ")]
    assert headings == registry.tasks.builtin()
