import subprocess
import sys

import numpy as np
import pytest
from matplotlib.text import Annotation
from synthetic_runs import FIGURE_2, run, table

from recall_bench import registry
from recall_bench.architectures.facts import FAMILIES
from recall_bench.bounds import mean_recall_ceiling, window_ceiling
from recall_bench.errors import UserError
from recall_bench.frontier.ceilings import with_ceiling
from recall_bench.frontier.points import points
from recall_bench.frontier.published import points_of
from recall_bench.reports.frontier_figure import plot_frontier, save
from recall_bench.reports.slices_figure import plot_slices
from recall_bench.reports.style import FAMILY_COLORS, NEUTRAL, bytes_text, styles_of

PNG = b"\x89PNG\r\n\x1a\n"

MARKERS = {name: registry.architectures.get(name).marker for name in ("based", "mamba")}


def runs(vocab_size=8192):
    return table(
        *(
            run(
                name,
                score + 0.02 * seed,
                state_bytes=size,
                seed=seed,
                vocab_size=vocab_size,
                **knob,
            )
            for name, score, size, knob in [
                ("based", 0.6, 9_000, {"d_model": 48, "feature_dim": 8}),
                ("based", 0.9, 40_000, {"d_model": 64, "feature_dim": 16}),
                ("mamba", 0.5, 8_000, {"d_model": 64}),
                ("sliding-window", 0.13, 16_000, {"window": 16, "layers": "short-conv+self"}),
            ]
            for seed in range(3)
        )
    )


def mine():
    return table(run("delta-rule", 0.95, state_bytes=34_000, d_model=128))


@pytest.fixture
def figure():
    return plot_frontier(runs())


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def legend_of(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def artist(axes, gid):
    (found,) = [artist for artist in (*axes.lines, *axes.collections) if artist.get_gid() == gid]
    return found


def means(axes, marker):
    edges = ("white", "black", "0.4")
    lines = [
        line
        for line in axes.lines
        if line.get_marker() == marker and line.get_markeredgecolor() in edges
    ]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_every_point_is_drawn_at_its_bytes_and_mean_recall(figure):
    assert means(axes_of(figure), MARKERS["based"]) == [
        (9_000, pytest.approx(0.62)),
        (40_000, pytest.approx(0.92)),
    ]
    assert axes_of(figure).get_xscale() == "log"


def test_every_seed_is_a_faint_marker(figure):
    scores = points(runs())["test_accuracies"].tolist()
    faint = [list(line.get_ydata()) for line in axes_of(figure).lines if line.get_alpha()]
    assert sorted(faint) == sorted(scores)


def test_intervals_are_drawn_for_several_seeds_and_not_for_one(figure):
    assert sum(line.get_gid() == "interval" for line in axes_of(figure).lines) == 4
    single = plot_frontier(mine())
    assert not any(line.get_gid() == "interval" for line in axes_of(single).lines)
    assert legend_of(single)[1] == "one seed each"


def test_intervals_are_called_95_percent_from_six_seeds_on():
    six = table(*(run(seed=seed, test=0.5 + 0.01 * seed) for seed in range(6)))
    assert "95% interval" in legend_of(plot_frontier(six))


def notes_of(figure):
    return [text.get_text() for text in axes_of(figure).texts if text.get_gid() == "note"]


def test_the_number_of_seeds_stands_in_the_legend_where_it_differs_between_architectures():
    figure = plot_frontier(table(*runs().to_dict("records"), *mine().to_dict("records")))
    assert legend_of(figure)[:2] == ["based, n 3", "delta-rule, n 1"]
    assert "one of n seeds" in legend_of(figure)
    assert not notes_of(figure)


def test_the_number_of_seeds_stands_beside_the_points_of_an_architecture_where_it_differs():
    more = run("based", 0.95, state_bytes=80_000, d_model=128, feature_dim=16)
    figure = plot_frontier(table(*runs().to_dict("records"), more))
    assert sorted(notes_of(figure)) == ["n 1", "n 3", "n 3"]
    assert legend_of(figure)[0] == "based"


def test_a_point_that_has_not_converged_has_an_arrow():
    rising = run("mamba", 0.3, state_bytes=40_000, d_state=16) | {"late_fall": 0.4}
    figure = plot_frontier(table(rising, run("mamba", 0.2, state_bytes=20_000, d_state=8)))
    assert notes_of(figure) == ["↓"]
    assert "↓ not converged" in legend_of(figure)


def test_a_point_whose_race_waits_for_runs_has_an_ellipsis():
    waiting = run("based", 0.9, state_bytes=40_000, d_model=64, feature_dim=16, learning_rate=1e-2)
    figure = plot_frontier(table(*runs().to_dict("records"), waiting))
    assert notes_of(figure) == ["…"]
    assert "… waits for runs" in legend_of(figure)


def test_a_point_that_noise_may_have_put_on_the_frontier_has_a_white_centre(figure):
    assert "within noise" not in legend_of(figure)
    near = plot_frontier(
        table(run("mamba", 0.6, state_bytes=10), run("based", 0.62, state_bytes=20))
    )
    assert list(artist(axes_of(near), "within-noise").get_xdata()) == [20]
    assert "within noise" in legend_of(near)


def test_the_legend_names_the_architectures_and_the_limits(figure):
    assert legend_of(figure) == [
        "based",
        "mamba",
        "sliding-window",
        "one of 3 seeds",
        "range",
        "frontier",
        "window's ceiling",
    ]


def test_published_points_are_hollow_and_only_of_architectures_that_are_there() -> None:
    published = points_of("figure2")
    figure = plot_frontier(runs(), published=published)
    drawn = [line for line in axes_of(figure).lines if line.get_gid() == "published"]
    known = published[published["architecture"].isin(["based", "mamba", "sliding-window"])]
    assert len(drawn) == len(known)
    assert {line.get_markerfacecolor() for line in drawn} == {"none"}
    assert legend_of(figure)[-1] == "published"


def test_the_legend_tells_the_best_efficiency_where_it_is_asked_for() -> None:
    shares = with_ceiling(points(runs())).groupby("architecture")["efficiency"].max()
    legend = legend_of(plot_frontier(runs(), efficiency=True))
    assert legend[:2] == [f"{name}, {shares[name]:.2%}" for name in ("based", "mamba")]
    assert "bits recalled" in legend[-1]


def test_the_frontier_line_passes_through_the_unbeaten_points(figure):
    (line,) = [line for line in axes_of(figure).lines if line.get_label() == "frontier"]
    assert list(line.get_xdata()[:-1]) == [8_000, 9_000, 40_000]


def test_the_unreachable_region_begins_at_the_information_bound(figure):
    region = artist(axes_of(figure), "unreachable").get_paths()[0].vertices
    x, y = region[np.argmin(region[:, 1])]
    assert y == pytest.approx(mean_recall_ceiling(8 * x, FIGURE_2, 4096, replacement=False))
    assert "no model\ncan be here" in [text.get_text() for text in axes_of(figure).texts]


def test_the_dash_of_a_window_is_what_it_and_its_convolution_reach(figure):
    dash = artist(axes_of(figure), "window-ceiling")
    assert dash.get_xdata()[0] == 16_000
    assert dash.get_ydata()[0] == pytest.approx(window_ceiling(16, FIGURE_2, shift=2))


def test_windows_mixed_with_other_layers_have_no_dash():
    mixed = table(run("sliding-window", 0.5, window=8, layers="mamba+self"))
    based = table(run("based", 0.5, window=8))
    for frame in (mixed, based):
        assert "window's ceiling" not in legend_of(plot_frontier(frame))


def test_limits_are_left_out_where_they_are_unknown_or_unwanted():
    copying = plot_frontier(table(run(task="copying")))
    unwanted = plot_frontier(runs(), ceiling=False)
    for figure in (copying, unwanted):
        assert not any(c.get_gid() == "unreachable" for c in axes_of(figure).collections)
    assert axes_of(unwanted).get_xlim()[0] > 1000


def test_limits_may_be_given_for_a_task_that_does_not_tell():
    figure = plot_frontier(table(run(task="copying")), segments=[(64, 16)], values=64)
    assert artist(axes_of(figure), "unreachable")


def test_highlighted_runs_are_named_and_have_a_dark_edge():
    frame = runs()
    ids = frame.loc[frame["architecture"] == "mamba", "run_id"].tolist()
    figure = plot_frontier(frame, highlight=ids, highlight_label="new")
    assert legend_of(figure)[0] == "mamba (new)"
    dark = [line for line in axes_of(figure).lines if line.get_markeredgecolor() == "black"]
    assert [line.get_marker() for line in dark] == [MARKERS["mamba"]]


def test_a_second_table_is_drawn_on_top_of_the_first():
    figure = plot_frontier(runs(), highlight=mine())
    assert legend_of(figure)[0] == "delta-rule (yours), n 1"
    assert "based, n 3" in legend_of(figure)


def test_runs_that_are_in_both_tables_are_drawn_once():
    frame = runs()
    figure = plot_frontier(frame, highlight=frame[frame["architecture"] == "mamba"])
    assert len(means(axes_of(figure), MARKERS["mamba"])) == 1
    assert "mamba" not in legend_of(figure)


def test_the_highlighted_experiment_is_the_one_that_is_drawn():
    both = table(*runs().to_dict("records"), *runs(vocab_size=64).to_dict("records"))
    figure = plot_frontier(both, highlight=mine())
    assert len(means(axes_of(figure), MARKERS["mamba"])) == 1


def test_several_experiments_are_refused_with_their_names_and_how_to_choose():
    both = table(*runs().to_dict("records"), *runs(vocab_size=64).to_dict("records"))
    names = sorted(both["experiment"].unique())
    with pytest.raises(UserError) as refusal:
        plot_frontier(both)
    for expected in (*names, "4 points of mqar", "--experiment"):
        assert expected in str(refusal.value)
    assert plot_frontier(both, experiment=names[0])
    with pytest.raises(UserError, match="Unknown experiment 'x'"):
        plot_slices(both, experiment="x")


def test_nothing_to_plot_and_nothing_to_highlight_are_refused():
    with pytest.raises(UserError, match="Nothing to plot"):
        plot_frontier(runs()[:0])
    with pytest.raises(UserError, match="None of the highlighted runs"):
        plot_frontier(runs(), highlight={"mqar-based-0"})


def test_labels_name_the_knobs_that_vary():
    figure = plot_frontier(runs(), annotate=True)
    labels = [text.get_text() for text in axes_of(figure).texts if isinstance(text, Annotation)]
    assert labels == ["48/8", "64/16"]
    assert "based: d_model/feature_dim" in legend_of(figure)


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_labels_overlap_neither_each_other_nor_the_edge(width):
    crowd = table(*(run(test=0.5 + i / 100, state_bytes=10_000 + 40 * i, k=i) for i in range(20)))
    axes = axes_of(plot_frontier(crowd, annotate=True, ceiling=False, width=width))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert boxes
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("width", [3.4, 6.8])
def test_nothing_lies_outside_the_figure(width):
    figure = plot_frontier(runs(), highlight=mine(), title="Recall", width=width)
    figure.draw_without_rendering()
    inside = figure.bbox.padded(1)
    texts = [axes_of(figure).title, axes_of(figure).xaxis.label, axes_of(figure).yaxis.label]
    for box in [
        *(text.get_window_extent() for text in texts),
        figure.legends[0].get_window_extent(),
    ]:
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1  # noqa: PT018
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1  # noqa: PT018
    assert figure.get_figwidth() == width


def test_points_and_runs_give_the_same_figure(tmp_path):
    plot_frontier(runs(), tmp_path / "runs.svg")
    plot_frontier(points(runs()), tmp_path / "points.svg")
    assert (tmp_path / "runs.svg").read_bytes() == (tmp_path / "points.svg").read_bytes()


def test_built_in_architectures_have_their_familys_colour_and_a_marker_of_their_own_in_it():
    names = registry.architectures.builtin()
    found = styles_of(names)
    assert len(set(found.values())) == len(found)
    for name in names:
        cls = registry.architectures.get(name)
        assert found[name] == (FAMILY_COLORS[cls.family], cls.marker)


def test_both_names_of_an_architecture_look_the_same():
    assert styles_of(["rwkv"])["rwkv"] == styles_of(["rwkv5"])["rwkv5"]


def test_every_family_has_a_colour_of_its_own():
    assert tuple(FAMILY_COLORS) == FAMILIES
    assert len({*FAMILY_COLORS.values(), NEUTRAL}) == len(FAMILIES) + 1


def test_a_plugin_looks_the_same_whatever_else_is_drawn_and_unlike_the_rest():
    alone = styles_of(["delta-rule"])["delta-rule"]
    assert styles_of(["attention", "delta-rule", "short-conv"])["delta-rule"] == alone
    many = styles_of(["based", "mamba", *(f"plugin-{i}" for i in range(6))])
    assert len({style.marker for style in many.values()}) == 8
    assert {style.color for name, style in many.items() if "plugin" in name} == {NEUTRAL}
    crowd = styles_of(f"plugin-{i}" for i in range(20))
    assert len(set(crowd.values())) == 20


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (32_000, "32 kB"),
        (999_700, "1 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_bytes_are_written_as_people_say_them(count, text):
    assert bytes_text(count) == text


def test_slices_draw_accuracy_against_pairs_and_name_the_state():
    figure = plot_slices(runs(), "pairs")
    assert legend_of(figure) == [
        "based (40 kB)",
        "mamba (8 kB)",
        "sliding-window (16 kB)",
        "other knob settings",
    ]
    bold = [line for line in axes_of(figure).lines if line.get_marker() == MARKERS["based"]]
    assert list(bold[0].get_xdata()) == [4, 8, 16, 32, 64, 128, 256]
    np.testing.assert_allclose(bold[0].get_ydata(), 0.92)


def test_slices_by_length_average_the_segments_of_a_length():
    axes = axes_of(plot_slices(runs(), "length", width=3.4))
    assert list(axes.lines[0].get_xdata()) == [64, 128, 256, 512, 1024]


def test_slices_by_an_unknown_field_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"no field or slice 'pair'. Did you mean 'pairs'"):
        plot_slices(runs(), "pair")


def test_an_svg_keeps_its_text_and_is_the_same_every_time(tmp_path):
    for name in ("one.svg", "two.svg"):
        plot_frontier(runs(), tmp_path / name)
    one = (tmp_path / "one.svg").read_text()
    assert one == (tmp_path / "two.svg").read_text()
    for text in (">sliding-window<", ">10 kB<", ">recall (test accuracy)<"):
        assert text in one
    assert "<dc:date>" not in one


def test_the_user_s_matplotlib_settings_do_not_matter(tmp_path):
    import matplotlib

    plot_frontier(runs(), tmp_path / "ours.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        plot_frontier(runs(), tmp_path / "theirs.svg")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "ours.svg").read_bytes() == (tmp_path / "theirs.svg").read_bytes()


def test_several_paths_are_written_at_once_into_new_directories(tmp_path, figure):
    save(figure, [tmp_path / "new" / "a.png", str(tmp_path / "new" / "a.pdf")])
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(PNG)
    assert (tmp_path / "new" / "a.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.pdf", "a.png"]


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path, figure):
    with pytest.raises(UserError, match=r"unknown suffix '\.jpg'. Expected one of \.png, \.svg"):
        save(figure, [tmp_path / "a.png", tmp_path / "a.jpg"])
    assert not list(tmp_path.iterdir())


def test_a_figure_that_cannot_be_drawn_leaves_the_old_file_alone(tmp_path, figure, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        save(figure, file)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_plotting_needs_neither_pyplot_nor_torch():
    code = (
        "import sys, recall_bench.reports.frontier_figure, recall_bench.frontier; "
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
