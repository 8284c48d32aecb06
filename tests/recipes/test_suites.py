"""A suite's table is what its settings, chosen on validation, average to."""

from pathlib import Path

import pandas as pd
import pytest
from command_line import Command
from rich.console import Console
from synthetic_runs import memory

from recall_bench import registry
from recall_bench.cli import request
from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.recipes import suites
from recall_bench.recipes.suites import Column, Setting, Suite
from recall_bench.recipes.suites.grid import Grid, grid
from recall_bench.recipes.suites.scores import scores, summary
from recall_bench.reports.suite_figure import heat_map
from recall_bench.reports.suite_tables import markdown, table
from recall_bench.store.record import SegmentScore, TrainingRecord
from recall_bench.store.runs import ResultStore
from recall_bench.store.schemas import parse
from recall_bench.store.table import row as row_of
from recall_bench.sweeps.view import Board
from recall_bench.sweeps.worker import Ended
from recall_bench.tasks import SPLITS

SMALL = {"vocab_size": 64} | dict.fromkeys(SPLITS, "16:2:8")
LARGER = dict.fromkeys(SPLITS, "24:2:8")
SUITE = Suite(
    name="tiny",
    description="two columns, three settings",
    columns={
        "capacity": Column(
            settings=(
                Setting(task="mqar", options=SMALL),
                Setting.changed("mqar", SMALL, LARGER),
            )
        ),
        "zeros": Column(settings=(Setting(task="mqar", options=SMALL | {"filler": "zero"}),)),
    },
    training={"epochs": 1, "batch_size": 8, "early_stop": None},
    learning_rates=[1e-3, 1e-2],
    weight_decays=[0.0, 0.1],
    shared={"d_model": 8},
    published={"Mamba": {"capacity": 0.5, "zeros": 0.25}, "GLA": {"capacity": 0.125, "zeros": 1}},
)


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the architectures say of the suite "tiny"."""
    mamba = registry.architectures.get("mamba")
    monkeypatch.setattr(mamba, "suites", {"tiny": {"d_state": 2}})
    monkeypatch.setattr(mamba, "counterparts", {"tiny": "Mamba"})


NOTHING: request.Given = {
    request.TASK: {},
    request.SWEPT_KNOBS: {},
    request.RECIPE: {},
    request.BACKBONE: {},
}


def runs(arch: str = "attention,mamba", **given: dict[str, str]) -> list[RunConfig]:
    named = {getattr(request, panel): texts for panel, texts in given.items()}
    return request.build_suite_runs(arch, SUITE, [], [0], NOTHING | named)


def row(config: RunConfig, test: float, validation: float | None = None) -> dict[str, object]:
    record = TrainingRecord(
        run_id=config.run_id,
        status="finished",
        config=config.model_dump(mode="json"),
        versions=config.versions,
        validation_accuracy=test if validation is None else validation,
        test_accuracy=test,
        segments=[
            SegmentScore(
                split="test",
                length=16,
                options={"pairs": 2},
                examples=8,
                accuracy=test,
                loss=1.0,
                chance=1 / 32,
                ceiling=1.0,
            )
        ],
        memory=memory(1000),
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
    )
    return row_of(record)


def frame(configs: list[RunConfig], test: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame([row(config, test) for config in configs])


def test_a_suite_crosses_settings_rates_and_decays_and_covers_all_settings_first() -> None:
    configs = runs()
    assert len({config.run_id for config in configs}) == len(configs) == 3 * 2 * 2 * 2
    first = configs[: 3 * 2 * 2]
    assert {config.training.learning_rate for config in first} == {1e-3}
    assert len({config.task.model_dump_json() for config in first}) == 3
    assert {config.training.weight_decay for config in first} == {0.0, 0.1}
    mamba = next(config.architecture for config in configs if config.architecture.name == "mamba")
    assert (mamba.d_model, mamba.d_state) == (8, 2)


def test_flags_replace_what_the_suite_says_and_options_of_a_task_are_refused() -> None:
    configs = runs("mamba", SWEPT_KNOBS={"d_state": "4,8"}, RECIPE={"weight_decay": "0.5"})
    assert len(configs) == 3 * 2 * 2
    assert {config.architecture.d_state for config in configs} == {4, 8}
    assert {config.training.weight_decay for config in configs} == {0.5}
    with pytest.raises(UserError, match="--power-a cannot be combined with --suite"):
        runs(TASK={"power_a": "1"})


def test_a_suite_may_cross_knobs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = registry.architectures.get("attention")
    monkeypatch.setattr(attention, "suites", {"tiny": {"rotary": [False, True]}})
    suite = SUITE
    configs = request.build_suite_runs("attention", suite, [1e-3], [0], NOTHING)
    assert [c.architecture.rotary for c in configs[:2]] == [False, True]
    found = grid(summary(scores(frame(configs), suite), suite), suite)
    assert [m.name for m in found.models][:2] == ["attention rotary=False", "attention rotary=True"]


def test_rate_and_decay_are_chosen_on_validation_and_scored_on_test() -> None:
    configs = [c for c in runs("attention") if c.task.filler == "zero"]
    given = {(1e-3, 0.0): (0.3, 0.6), (1e-2, 0.0): (0.9, 0.1), (1e-3, 0.1): (0.2, 0.7)}
    rows = [
        row(
            config,
            *given.get((config.training.learning_rate, config.training.weight_decay), (1, 0)),
        )
        for config in configs
    ]
    (best,) = scores(pd.DataFrame(rows), SUITE).to_dict("records")
    assert (best["test_accuracy"], best["learning_rate"], best["weight_decay"]) == (0.2, 1e-3, 0.1)
    assert (best["column"], best["change"], best["chance"]) == ("zeros", "", 1 / 32)


def test_a_column_is_the_mean_of_its_settings_and_the_score_the_mean_of_columns() -> None:
    rows = [row(c, 0.5 if c.task.test[0].length == 16 else 1.0) for c in runs("attention")]
    found = grid(summary(scores(pd.DataFrame(rows), SUITE), SUITE), SUITE)
    (ours, *papers) = found.models
    assert {name: cell.accuracy for name, cell in ours.cells.items()} == {
        "capacity": 0.75,
        "zeros": 0.5,
    }
    assert ours.mean(found.columns) == 0.625
    assert [paper.name for paper in papers] == ["Mamba", "GLA"]


def test_settings_that_have_not_run_are_marked_and_leave_no_mean() -> None:
    some = [c for c in runs("attention") if c.task.test[0].length == 16]
    found = grid(summary(scores(frame(some), SUITE), SUITE), SUITE)
    assert str(found.models[0].cells["capacity"]) == "0.500*"
    text = markdown(found)
    assert "| mean | - | 0.375 | 0.562 |" in text
    assert "not all settings have run yet" in text


def test_published_scores_stand_beside_their_counterpart() -> None:
    found = grid(summary(scores(frame(runs()), SUITE), SUITE), SUITE)
    assert [model.name for model in found.models] == ["attention", "mamba", "Mamba", "GLA"]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(found))
    assert "(paper)" in capture.get()
    assert "less than 0.1 between best and worst: capacity, zeros" in capture.get()


def test_runs_of_other_tasks_and_old_versions_do_not_count() -> None:
    configs = runs("attention")
    other = RunConfig(task={"name": "mqar"}, architecture={"name": "attention"})
    old = frame(configs, 0.0)
    old["task_version"] -= 1
    table = pd.concat([frame([*configs, other]), old.assign(run_id=old["run_id"] + "-old")])
    assert set(scores(table, SUITE)["test_accuracy"]) == {0.5}
    with pytest.raises(UserError, match="no runs of the suite 'tiny'"):
        scores(frame([other]), SUITE)


def test_recipes_are_not_mixed() -> None:
    longer, longest = (runs("attention", RECIPE={"epochs": text}) for text in ("2", "3"))
    assert len(scores(frame(longer), SUITE)) == 3
    own = pd.concat([frame(runs("attention"), 0.25), frame(longer)])
    assert set(scores(own, SUITE)["test_accuracy"]) == {0.25}
    with pytest.raises(UserError, match="follow 2 recipes, none of them the suite's own"):
        scores(frame([*longer, *longest]), SUITE)


def texts_of(found: Grid) -> list[str]:
    return [text.get_text() for text in heat_map(found).axes[0].texts]


def test_the_heat_map_shows_every_accuracy_and_the_mean_adjusted_for_chance() -> None:
    found = grid(summary(scores(frame(runs()), SUITE), SUITE), SUITE)
    axes, bar = heat_map(found).axes
    texts = texts_of(found)
    assert texts.count("0.50") == 2 * 2 + 1  # two of our columns, and Mamba's
    adjusted = (0.5 - 1 / 32) / (1 - 1 / 32)
    assert texts.count(f"{adjusted:.2f}") == 2
    assert found.adjusted_mean(found.ours[0]) == pytest.approx(adjusted)
    lines = [label.get_text() for label in axes.get_yticklabels()]
    assert lines == ["capacity", "zeros", "adjusted mean"]
    assert "GLA" in [label.get_text() for label in axes.get_xticklabels()]
    assert bar.get_ylabel() == "cells: accuracy, n 1\ncolour: adjusted for chance"


def test_the_number_of_seeds_stands_in_every_cell_where_it_differs() -> None:
    configs = runs("attention")
    again = [c.model_copy(update={"seed": 1}) for c in configs if c.task.filler == "zero"]
    found = grid(summary(scores(frame([*configs, *again]), SUITE), SUITE), SUITE)
    assert "| zeros | 0.500 (n 2) |" in markdown(found)
    assert "| capacity | 0.500 (n 1) |" in markdown(found)
    assert "0.50\nn 2" in texts_of(found)


def test_rates_and_decays_race_and_a_setting_waits_while_one_of_them_has_fewer_seeds() -> None:
    configs = [c for c in runs("attention") if c.task.filler == "zero"]
    chosen = configs[0].model_copy(update={"seed": 1})
    (row_of_setting,) = scores(frame([*configs, chosen]), SUITE).to_dict("records")
    assert (row_of_setting["learning_rates"], row_of_setting["racing"]) == (4, 4)
    assert (row_of_setting["race_seeds"], row_of_setting["waiting"]) == (1, 3)
    found = grid(summary(scores(frame([*configs, chosen]), SUITE), SUITE), SUITE)
    assert "0.500…" in markdown(found)
    assert "a rate in the race waits for runs" in markdown(found)


def test_a_setting_whose_runs_all_failed_has_no_score() -> None:
    rows = frame(runs("attention"))
    failed = rows["task_options"].map(lambda options: options["filler"] == "zero")
    rows.loc[failed, "status"] = "failed"
    found = grid(summary(scores(rows, SUITE), SUITE), SUITE)
    assert found.models[0].cells.keys() == {"capacity"}
    with pytest.raises(UserError, match="Every run of the suite 'tiny' failed"):
        scores(rows[failed], SUITE)


def test_published_scores_that_measure_something_else_stand_apart() -> None:
    other = SUITE.model_copy(update={"published_otherwise": "means over harder changes"})
    found = grid(summary(scores(frame(runs()), other), other), other)
    ours, theirs = markdown(found).split("Published, but not comparable: means over harder changes")
    assert "Mamba" not in ours
    assert "| mean | 0.375 | 0.562 |" in theirs
    axes = heat_map(found).axes[0]
    (note,) = [text for text in axes.texts if text.get_gid() == "published-otherwise"]
    assert note.get_text().startswith("means over harder changes")
    colours = axes.images[0].get_array()
    assert colours.mask[:, 2:].all()
    assert not colours.mask[:, :2].any()
    assert suites.get("mad-baseline").published_otherwise
    assert not suites.get("mad").published_otherwise


@pytest.mark.parametrize("name", suites.SUITES)
def test_every_suite_can_be_built_and_its_runs_are_those_of_its_settings(name: str) -> None:
    suite = suites.get(name)
    assert suite.name == name
    configs = request.build_suite_runs("attention", suite, [], [0], NOTHING)
    points = len({config.architecture.model_dump_json() for config in configs})
    times = points * len(suite.learning_rates) * max(len(suite.weight_decays), 1)
    assert len({config.run_id for config in configs}) == times * len(suite.settings())


def test_mad_has_its_published_settings() -> None:
    suite = suites.get("mad")
    counts = {name: len(column.settings) for name, column in suite.columns.items()}
    assert counts == {
        "mad-compression": 11,
        "mad-fuzzy-recall": 11,
        "mad-in-context-recall": 11,
        "mad-memorization": 6,
        "mad-noisy-recall": 14,
        "mad-selective-copying": 13,
    }
    assert suite.learning_rates == [1e-4, 5e-4, 1e-3]
    means = {name: round(100 * sum(s.values()) / 6, 1) for name, s in suite.published.items()}
    assert means["Mamba"] == 69.3
    assert means["Transformer"] == 74.5
    configs = request.build_suite_runs("attention", suite, [5e-4], [0], NOTHING)
    assert {c.architecture.layers for c in configs} == {"self+self"}
    assert all(round(c.model.mlp_ratio * c.architecture.d_model) == 352 for c in configs)


def test_mads_baselines_are_runs_of_the_whole_suite() -> None:
    whole, part = (
        request.build_suite_runs("attention,mamba", suites.get(name), [], [0], NOTHING)
        for name in ("mad", "mad-baseline")
    )
    assert len(part) == 2 * 6 * 3 * 2
    assert {config.run_id for config in part} < {config.run_id for config in whole}


def test_a_table_of_the_first_few_runs_shows_what_there_is() -> None:
    suite = suites.get("mad-baseline")
    configs = request.build_suite_runs("attention", suite, [5e-4], [0], NOTHING)
    frame = pd.DataFrame([row(configs[0], 0.5)])
    text = markdown(grid(summary(scores(frame, suite), suite), suite))
    own = text.split("\n\n")[0]
    ours = [line.split("|")[2].strip() for line in own.splitlines() if line.startswith("| m")]
    assert ours == ["0.500", *["-"] * 6]


def test_an_unknown_suite_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'mad'"):
        suites.get("mda")


def test_a_suite_is_swept_reported_and_plotted(
    recall_bench: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suites, "get", lambda name: SUITE)
    words = ("sweep", "--suite", "tiny", "--arch", "attention", "--learning-rates", "0.01")
    words += ("--weight-decay", 0, "--processes", 1)
    recall_bench(*words).succeeded("capacity", "zeros", "GLA", "3 runs done.")
    recall_bench(*words).succeeded("3 runs done, 3 of them before.")
    recall_bench("report", "--suite", "tiny").succeeded("attention", "mean")
    recall_bench("report", "--suite", "tiny", "--markdown").succeeded("| task | attention |")
    recall_bench("plot", "--suite", "tiny", "--output", "heat.svg").succeeded("Wrote heat.svg")
    recall_bench("plot", "--by", "gap", "--suite", "tiny", "--output", "a.svg").refused(
        "one of them"
    )
    recall_bench("plot", "--task", "mqra", "--output", "a.svg").refused("Did you mean 'mqar'")
    (one, *_) = sorted(set(ResultStore(tmp_path / "runs").frame()["experiment"]))
    words_of_plot = ("--task", "mqar", "--by", "gap", "--experiment", one)
    recall_bench("plot", *words_of_plot, "--output", "gap.svg").succeeded("Wrote gap.svg")
    recall_bench(*words, "--task", "mqar").refused("omit --task and --preset")


def test_the_runs_of_a_suite_are_told_with_their_task_and_decay() -> None:
    configs = request.build_suite_runs("attention", suites.get("mad"), [5e-4], [0], NOTHING)
    board = Board(configs, processes=1)
    first = board.name(configs[0].run_id)
    assert first == "mad-compression: attention lr=0.0005 wd=0 seed=0"
    record = parse(str(row(configs[0], 0.5)["record"])).record
    assert isinstance(record, TrainingRecord)
    board.apply(Ended(configs[0].run_id, record))
    assert board.best() == [("attention", 1, len(configs), None)]
