from pathlib import Path

from recall_bench.cli.architecture_table import with_table

ROOT = Path(__file__).parents[2]


def test_the_readme_quotes_the_example_as_it_is_and_it_is_short() -> None:
    example = (ROOT / "examples" / "decay_attention.py").read_text()
    assert example.strip() in (ROOT / "README.md").read_text()
    assert len(example.splitlines()) < 65


def test_the_table_of_architectures_is_current() -> None:
    readme = (ROOT / "README.md").read_text()
    assert with_table(readme) == readme, "architectures have changed: run `make docs`"


def test_the_readme_quotes_the_wrapped_layer_as_it_is() -> None:
    _, decorator, lines = (ROOT / "examples" / "fla_gla.py").read_text().partition("@register")
    assert (decorator + lines).strip() in (ROOT / "README.md").read_text()


def test_make_sweep_runs_the_command_of_the_readme() -> None:
    command = "recall-bench sweep --arch based --feature-dim 16 --window 64\n"
    assert command in (ROOT / "Makefile").read_text()
    assert command in (ROOT / "README.md").read_text()
