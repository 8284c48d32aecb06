import pytest
from pydantic import ValidationError

from recall_bench.config import RunConfig, TrainingConfig
from recall_bench.errors import UserError

SMALL = {"vocab_size": 64, "train": "32:2:64", "validation": "32:2:32", "test": "32:2:32"}


def run(**changes: object) -> RunConfig:
    fields = {
        "task": {"name": "mqar", **SMALL},
        "architecture": {"name": "attention", "d_model": 32},
        **changes,
    }
    return RunConfig(**fields)


def test_a_config_survives_json() -> None:
    config = run(seed=3)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_run_id_depends_on_every_part_of_the_definition() -> None:
    ids = {
        config.run_id
        for config in (
            run(),
            run(seed=1),
            run(training={"learning_rate": 2e-3}),
            run(model={"mlp_ratio": 2.0}),
            run(architecture={"name": "attention", "d_model": 64}),
            run(task={"name": "mqar", **SMALL, "filler": "any"}),
        )
    }
    assert len(ids) == 6


def test_run_id_is_the_same_however_the_options_were_written() -> None:
    segments = [{"length": 32, "pairs": 2, "examples": 64}]
    spelled = run(task={"name": "mqar", **SMALL, "train": segments})
    assert spelled.run_id == run().run_id


def test_run_id_changes_with_the_version_of_an_architecture(monkeypatch) -> None:
    before = run().run_id
    monkeypatch.setattr(type(run().architecture), "version", 99)
    assert run().run_id != before


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        run().training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"architecture": {"name": "atention"}},
            ["Unknown architecture", "Did you mean 'attention'"],
        ),
        ({"task": {"name": "mqr"}}, ["Unknown task 'mqr'", "Did you mean 'mqar'"]),
        (
            {"architecture": {"name": "attention", "d_modle": 3}},
            ["attention", "unknown option 'd_modle'", "Did you mean 'd_model'"],
        ),
        ({"architecture": {"name": "attention", "d_model": "wide"}}, ["d_model", "'wide'"]),
        ({"architecture": {"name": "attention", "d_model": 0}}, ["d_model", "greater than"]),
    ],
)
def test_errors_name_what_was_wrong_and_the_nearest_valid_value(changes, parts) -> None:
    with pytest.raises(UserError) as caught:
        run(**changes)
    for part in parts:
        assert part in str(caught.value)


def test_recipe_defaults_are_those_of_figure_2() -> None:
    recipe = TrainingConfig()
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (32, 256, 0.1)
    assert recipe.order == "segments"
    assert recipe.early_stop == 0.99
