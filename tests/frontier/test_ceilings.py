import math

import pytest
from synthetic_runs import FIGURE_2, run, table

from recall_bench.bounds import window_ceiling
from recall_bench.frontier.ceilings import recall_setting, window_limit, with_ceiling
from recall_bench.frontier.points import points


def test_efficiency_is_the_share_of_the_bits_that_recall_needs():
    found = with_ceiling(table(run(test=1.0, state_bytes=1000, segments=[(1024, 256)])))
    assert found.loc[0, "recall_ceiling"] == 1.0
    assert found.loc[0, "efficiency"] == pytest.approx(3060.26 / 8000, rel=1e-4)
    given = with_ceiling(table(run(test=1.0)), segments=[(1024, 256)], values=4096)
    assert given.loc[0, "efficiency"] == pytest.approx(found.loc[0, "efficiency"])


def test_tasks_without_a_known_ceiling_get_none():
    found = with_ceiling(table(run(task="copying")))
    assert math.isnan(found.loc[0, "recall_ceiling"])
    assert math.isnan(found.loc[0, "efficiency"])


def test_the_setting_of_the_bound_is_read_from_the_runs():
    row = points(table(run(vocab_size=64))).to_dict("records")[0]
    assert recall_setting(row) == (FIGURE_2, 32)


@pytest.mark.parametrize(
    ("layers", "reach"),
    [
        ("short-conv+self", 10),
        ("short-conv{kernel_size=5} + self", 12),
        ("self+sliding-window", 15),
        ("self", 8),
        ("sliding-window{window=4}+self", 11),
        ("(short-conv+self{window=2})*2", 7),
    ],
)
def test_windows_and_convolutions_add_up_their_reach(layers, reach):
    limit = limit_of("sliding-window", window=8, layers=layers)
    assert limit == pytest.approx(window_ceiling(reach, FIGURE_2))


def test_a_stack_of_windows_has_a_limit_whatever_its_architecture():
    limit = limit_of("based", layers="short-conv+sliding-window", window=8)
    assert limit == pytest.approx(window_ceiling(10, FIGURE_2))


def test_layers_that_remember_more_than_a_window_have_no_window_limit():
    assert limit_of("sliding-window", window=8, layers="mamba+self") is None
    assert limit_of("based", window=8) is None


def test_points_of_a_plugin_that_is_not_installed_have_no_window_limit():
    assert limit_of("not-installed", window=8) is None
    assert limit_of("sliding-window", window=8, layers="not-installed+self") is None


def test_windows_on_other_tasks_have_no_known_limit():
    assert limit_of("sliding-window", window=8, task="copying") is None


def test_the_task_s_power_law_and_repeats_count():
    row = points(table(run("sliding-window", window=8))).to_dict("records")[0]
    options = {**row["task_options"], "power_a": 1.0, "repeats": 2}
    found = window_limit({**row, "task_options": options}, [(64, 4)])
    assert found == pytest.approx(window_ceiling(10, [(64, 4)], 1.0, repeats=2))


def limit_of(architecture, **knobs):
    return window_limit(points(table(run(architecture, **knobs))).to_dict("records")[0], FIGURE_2)
