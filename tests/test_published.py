import json

import pandas as pd
import pytest

from recall_bench.errors import UserError
from recall_bench.presets import PRESETS
from recall_bench.published import FIGURE_2, FIGURE_2_SETTING, compare, markdown


def run(architecture: str, knobs: dict, accuracy: float, on_test: float, seed: int = 0) -> dict:
    """A finished run of Figure 2's test set, every segment with the same accuracy."""
    segments = [
        {"split": "test", "length": length, "options": {"pairs": pairs}, "accuracy": accuracy}
        for length, pairs in FIGURE_2_SETTING[0]
    ]
    return {
        "experiment": "e",
        "architecture": architecture,
        "knobs": json.dumps(knobs),
        "task": "mqar",
        "task_options": json.dumps({"vocab_size": 8192}),
        "run_id": f"{architecture}-{json.dumps(knobs)}-{accuracy}-{seed}",
        "record": json.dumps({"versions": {"architecture": 1}}),
        "status": "finished",
        "learning_rate": accuracy,
        "seed": seed,
        "validation_accuracy": accuracy,
        "test_accuracy": on_test,
        "state_bytes": 1000.0,
        "state_dtype": "float32",
        "parameters": 10.0,
        "segments": json.dumps(segments),
    }


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
    table = compare(frame).set_index(["architecture", "knobs"])
    ours = table.loc[("based", json.dumps(BASED))]
    assert ours["published"] == 0.912
    assert ours["published_bytes"] == 40_500
    assert ours["difference"] == pytest.approx(0.80 - 0.912)
    assert ours["test_accuracy_chosen_on_test"] == 0.85
    assert pd.isna(table.loc[("based", json.dumps({**BASED, "feature_dim": 32}))]["published"])
    window = table.loc[("sliding-window", json.dumps({"d_model": 128, "window": 64}))]
    assert window["window_ceiling"] == pytest.approx(0.514, abs=0.02)


def test_the_table_shows_every_point_and_marks_what_is_far_off() -> None:
    text = markdown(
        pd.DataFrame([run("based", BASED, 0.9, 0.80), run("h3", {"d_model": 64}, 0.2, 0.2)])
    )
    based, h3 = text.splitlines()[2:]
    assert "| **-0.112** |" in based
    assert "| +0.011 |" in h3


def test_runs_of_another_setting_are_not_compared() -> None:
    other = run("based", BASED, 0.9, 0.8) | {"task_options": json.dumps({"vocab_size": 512})}
    assert compare(pd.DataFrame([other]))["published"].isna().all()
    with pytest.raises(UserError, match=r"Did you mean 'figure2'"):
        compare(pd.DataFrame([other]), "figure3")


def test_every_published_point_is_run_by_the_preset() -> None:
    settings = {
        name: PRESETS["figure2"].knob_settings(name, {}) for name in PRESETS["figure2"].grids
    }
    for point in FIGURE_2:
        assert any(point.knobs.items() <= knobs.items() for knobs in settings[point.architecture])
