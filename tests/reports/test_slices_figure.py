"""Accuracy by length or by any slice, with what lies beyond training and what no model can beat."""

import pytest
from synthetic_runs import run, table

from recall_bench.errors import UserError
from recall_bench.reports.frontier_figure import plot_frontier
from recall_bench.reports.slices_figure import plot_slices
from recall_bench.reports.terminal import points_tables

LENGTHS = {64: 0.9, 128: 0.7, 512: 0.3}
TRAIN = [{"length": 64, "examples": 9}, {"length": 128, "examples": 9}]


def recalling(architecture="mamba", scale=1.0, windows=None, ceiling=1.0, exact=None, **options):
    """A run whose accuracy falls with length, and with the gap."""
    row = run(architecture, 0.5, **options)
    segments = [
        {
            "split": "test",
            "length": length,
            "options": {},
            "accuracy": scale * accuracy,
            "exact_match": exact,
            "chance": 0.1,
            "ceiling": ceiling,
            "window_ceiling": None if windows is None else windows[length],
        }
        for length, accuracy in LENGTHS.items()
    ]
    slices = [
        {"name": "gap", "value": value, "queries": 5, "accuracy": scale / value}
        for value in (4, 2, 8)
    ]
    task = {"name": "induction", "train": TRAIN, "test": []}
    return row | {
        "segments": segments,
        "slices": slices,
        "task": "induction",
        "task_options": task,
    }


def line_of(figure, label):
    axes = figure.axes[0]
    return next(line for line in axes.lines if str(line.get_label()).startswith(label))


def test_lengths_beyond_those_of_training_are_shaded():
    figure = plot_slices(table(recalling()), "length")
    line = line_of(figure, "mamba")
    assert list(line.get_xdata()) == [64, 128, 512]
    assert list(line.get_ydata()) == [0.9, 0.7, 0.3]
    (shade,) = [patch for patch in figure.axes[0].patches if patch.get_gid() == "beyond-training"]
    assert 128 < shade.get_x() < 512
    assert "longer than in training" in [text.get_text() for text in figure.axes[0].texts]


def test_nothing_is_shaded_where_all_test_lengths_were_trained():
    longer = [{"length": 512, "examples": 9}]
    row = recalling()
    task = row["task_options"] | {"train": longer}
    assert not plot_slices(table(row | {"task_options": task}), "length").axes[0].patches


def test_any_slice_of_the_records_can_be_drawn_averaged_over_seeds():
    runs = table(recalling(seed=0), recalling(seed=1, scale=0.5))
    line = line_of(plot_slices(runs, "gap"), "mamba")
    assert list(line.get_xdata()) == [2, 4, 8]
    assert list(line.get_ydata()) == pytest.approx([0.375, 0.1875, 0.09375])


def test_an_unknown_slice_is_refused_with_all_that_there_is():
    with pytest.raises(UserError, match=r"no field or slice 'gaps'. Did you mean 'gap'"):
        plot_slices(table(recalling()), "gaps")


def test_ceilings_of_the_task_and_of_windows_are_drawn():
    windows = {64: 0.5, 128: 0.25, 512: 0.2}
    runs = table(recalling("sliding-window", windows=windows, ceiling=0.95))
    figure = plot_slices(runs, "length")
    assert list(line_of(figure, "no model above").get_ydata()) == [0.95] * 3
    (dashes,) = [line for line in figure.axes[0].lines if line.get_gid() == "window-ceiling"]
    assert list(dashes.get_ydata()) == [0.5, 0.25, 0.2]
    frontier = plot_frontier(runs).axes[0]
    (line,) = [line for line in frontier.lines if line.get_gid() == "task-ceiling"]
    assert line.get_ydata()[0] == pytest.approx(0.95)
    (dash,) = [line for line in frontier.lines if line.get_gid() == "window-ceiling"]
    assert dash.get_ydata()[0] == pytest.approx(0.95 / 3)


def test_no_ceiling_is_drawn_where_it_is_one():
    axes = plot_slices(table(recalling()), "length").axes[0]
    assert not any(str(line.get_label()).startswith("no model") for line in axes.lines)


def test_exact_match_is_reported_where_it_differs(capsys):
    from rich import print as show

    show(points_tables(table(recalling(exact=0.25))))
    said = capsys.readouterr().out
    assert "exact" in said
    assert "0.250" in said
    show(points_tables(table(recalling(exact=0.5))))
    assert "exact" not in capsys.readouterr().out
