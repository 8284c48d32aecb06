import pandas as pd
import pytest
import synthetic_runs

from recall_bench.config import canonical_json
from recall_bench.errors import UserError
from recall_bench.frontier.published import FIGURE_2, compare, markdown
from recall_bench.recipes.presets import PRESETS


def run(architecture: str, knobs: dict, accuracy: float, on_test: float, seed: int = 0) -> dict:
    """A finished run of Figure 2's test set."""
    return synthetic_runs.run(
        architecture, on_test, accuracy, learning_rate=accuracy, seed=seed, **knobs
    )


BASED = {"d_model": 64, "feature_dim": 16, "window": 0}


def test_points_find_what_was_published_for_their_knobs() -> None:
    frame = pd.DataFrame(
        [
            run("based", BASED, 0.9, 0.80),
            run("based", BASED, 0.5, 0.85),
            run("based", {**BASED, "feature_dim": 32}, 0.9, 0.9),
            run("sliding-window", {"d_model": 128, "window": 64}, 0.5, 0.51),
        ]
    )
    table = compare(frame).set_index(["architecture", "knobs_key"])
    ours = table.loc[("based", canonical_json(BASED))]
    assert ours["published"] == 0.912
    assert ours["published_bytes"] == 40_500
    assert ours["difference"] == pytest.approx(0.80 - 0.912)
    assert ours["test_accuracy_chosen_on_test"] == 0.85
    assert pd.isna(table.loc[("based", canonical_json({**BASED, "feature_dim": 32}))]["published"])
    window = table.loc[("sliding-window", canonical_json({"d_model": 128, "window": 64}))]
    assert window["window_ceiling"] == pytest.approx(0.514, abs=0.02)


def test_the_table_shows_every_point_and_marks_what_is_far_off() -> None:
    text = markdown(
        pd.DataFrame([run("based", BASED, 0.9, 0.80), run("h3", {"d_model": 64}, 0.2, 0.2)])
    )
    based, h3 = text.splitlines()[2:]
    assert "| **-0.112** |" in based
    assert "| +0.011 |" in h3


def test_runs_of_another_setting_are_not_compared() -> None:
    other = run("based", BASED, 0.9, 0.8) | {"task_options": {"name": "mqar", "vocab_size": 512}}
    assert compare(pd.DataFrame([other]))["published"].isna().all()
    with pytest.raises(UserError, match=r"Did you mean 'figure2'"):
        compare(pd.DataFrame([other]), "figure3")


def test_every_published_point_is_run_by_the_preset() -> None:
    names = {point.architecture for point in FIGURE_2}
    settings = {name: PRESETS["figure2"].knob_settings(name, {}) for name in names}
    for point in FIGURE_2:
        assert any(point.knobs.items() <= knobs.items() for knobs in settings[point.architecture])
