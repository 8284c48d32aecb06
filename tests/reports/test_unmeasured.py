"""Points whose state was not measured: nothing is guessed, and nothing breaks."""

import math

import pytest
from rich.console import Console
from sweep_training import toy_record, toy_run
from synthetic_runs import memory, run, table

from recall_bench.frontier import frontier, points
from recall_bench.frontier.ceilings import with_ceiling
from recall_bench.frontier.published import markdown
from recall_bench.reports.frontier_figure import plot_frontier
from recall_bench.reports.slices_figure import plot_slices
from recall_bench.reports.style import styles_of
from recall_bench.reports.terminal import points_tables
from recall_bench.store.record import Memory
from recall_bench.store.runs import ResultStore


def runs():
    """A measured point, and two whose state was not."""
    return table(
        run("based", 0.6, state_bytes=9_000, d_model=48),
        run("delta-rule", 0.7, state_bytes=None, d_model=48),
        run("delta-rule", 0.9, state_bytes=None, d_model=64),
    )


def drawn(axes, gid):
    artists = (*axes.lines, *axes.patches)
    return [artist for artist in artists if artist.get_gid() == gid]


def test_a_record_without_a_measured_state_is_valid(tmp_path):
    record = toy_record(toy_run()).model_copy(update={"memory": Memory(parameters=10)})
    ResultStore(tmp_path).write(record)
    assert ResultStore(tmp_path).read(record.run_id) == record
    assert memory(None).state_bytes is None


def test_a_point_without_a_measured_state_has_a_score_and_is_on_no_frontier():
    made = points(runs())
    unknown = made[made["architecture"] == "delta-rule"]
    assert unknown["test_accuracy"].tolist() == [0.7, 0.9]
    assert unknown["state_bytes"].isna().all()
    assert frontier(made)["architecture"].tolist() == ["based"]
    assert with_ceiling(made)["efficiency"].isna().sum() == 2


def test_reports_say_that_the_state_was_not_measured():
    console = Console(width=120, record=True)
    console.print(points_tables(runs()))
    lines = console.export_text().splitlines()
    assert sum("not measured" in line for line in lines) == 2
    assert all("delta-rule" in line for line in lines if "not measured" in line)
    assert markdown(runs()).count("| not measured |") == 2


def test_a_run_that_failed_before_it_had_a_size_is_no_unmeasured_state():
    failed = {**run("mamba", status="failed"), "state_bytes": None, "parameters": None}
    console = Console(width=120, record=True)
    console.print(points_tables(table(*runs().to_dict("records"), failed)))
    (line,) = [line for line in console.export_text().splitlines() if "mamba" in line]
    assert "not measured" not in line
    axes = plot_frontier(table(*runs().to_dict("records"), failed)).axes[0]
    assert styles_of(["mamba"])["mamba"].marker not in {line.get_marker() for line in axes.lines}


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_unmeasured_points_are_hollow_in_a_band_left_of_all_others(width):
    axes = plot_frontier(runs(), annotate=True, width=width).axes[0]
    markers = drawn(axes, "unmeasured")
    assert sorted(float(line.get_ydata()[0]) for line in markers) == [0.7, 0.9]
    assert {line.get_markerfacecolor() for line in markers} == {"none"}
    (band,) = drawn(axes, "unmeasured-band")
    left, edge = band.get_x(), band.get_x() + band.get_width()
    assert axes.get_xlim()[0] == pytest.approx(left)
    assert all(left < line.get_xdata()[0] < edge < 9_000 for line in markers)
    share = math.log(edge / left) / math.log(axes.get_xlim()[1] / left)
    assert share == pytest.approx(0.09)
    assert "state not measured" in [text.get_text() for text in axes.texts]
    (named,) = [text for text in axes.texts if text.get_text().startswith("no model")]
    assert named.get_position()[0] > share
    labelled = axes.xaxis.get_major_formatter()
    assert (labelled(edge / 1.01), labelled(9_000)) == ("", "9 kB")


def test_a_figure_of_measured_points_has_no_band():
    axes = plot_frontier(table(run("based"))).axes[0]
    assert not drawn(axes, "unmeasured-band")


def test_points_can_be_drawn_where_no_state_was_measured():
    runs = table(run("delta-rule", 0.7, state_bytes=None, task="copying"))
    axes = plot_frontier(runs, efficiency=True).axes[0]
    assert len(drawn(axes, "unmeasured")) == 1
    figure = plot_slices(runs, "pairs")
    assert figure.legends[0].get_texts()[0].get_text() == "delta-rule (state not measured)"
