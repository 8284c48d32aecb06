"""What the commands do and show, on runs that end in seconds."""

import re
from pathlib import Path

import pandas as pd
import pytest
from command_line import SMOKE, Command
from rich.console import Console
from synthetic_runs import run, table

from recall_bench.reports.terminal import points_tables
from recall_bench.store.runs import ResultStore

SWEEP = ("sweep", "--arch", "based,attention", "--feature-dim", "2,4", *SMOKE)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep of this module has its store."""
    return tmp_path_factory.mktemp("swept")


@pytest.fixture
def swept(directory: Path, run_in: Command) -> Command:
    """Commands run where `SWEEP` is done."""
    if not (directory / "runs").exists():
        run_in(directory, *SWEEP).succeeded()
    return lambda *words: run_in(directory, *words)


def widest(text: str) -> int:
    return max(len(line.rstrip()) for line in text.splitlines())


def test_list_names_everything_within_80_columns(recall_bench: Command) -> None:
    outcome = recall_bench("list")
    outcome.succeeded(
        "based: ", "mamba: ", "mad-compression", "figure2", "--feature-dim INT", "1 to 256"
    )
    assert widest(outcome.out) <= 80
    assert "…" not in outcome.out.replace("examples,…", "")


def test_list_has_the_options_of_one_component(recall_bench: Command) -> None:
    outcome = recall_bench("list", "mqar")
    outcome.succeeded("mqar: ", "--power-a FLOAT", "--train LIST")
    assert widest(outcome.out) <= 80
    recall_bench("list", "mqra").refused("Did you mean 'mqar'")


def test_show_draws_pairs_queries_and_answers(recall_bench: Command) -> None:
    outcome = recall_bench("show", "--preset", "smoke", "--seed", 3, "--count", 2)
    outcome.succeeded("length 32, pairs 2: example 2", "k1 v1", "answer")
    assert outcome == recall_bench("show", "mqar", "--preset=smoke", "--seed", 3, "--count", 2)
    assert widest(outcome.out) <= 80


def test_train_keeps_one_record_and_prints_its_scores(
    recall_bench: Command, tmp_path: Path
) -> None:
    words = ("train", "--arch", "short-conv", "--preset", "smoke", "--epochs", 1, "--seed", 5)
    outcome = recall_bench(*words, "--learning-rate", 0.02, "--store", "kept")
    outcome.succeeded("short-conv", "0.02", "Records are in kept.")
    (record,) = ResultStore(tmp_path / "kept").records()
    assert record.status == "finished"
    assert (record.config["seed"], record.config["training"]["learning_rate"]) == (5, 0.02)


def test_a_sweep_crosses_comma_separated_values_and_a_second_call_runs_nothing(
    swept: Command, directory: Path
) -> None:
    store = ResultStore(directory / "runs")
    before = {r.run_id: (store.directory(r.run_id) / "record.json").stat() for r in store.records()}
    knobs = [knobs.get("feature_dim") for knobs in store.frame()["knobs"]]
    assert sorted(map(str, knobs)) == ["2", "4", "None"]
    outcome = swept(*SWEEP)
    outcome.succeeded("3 runs done, 3 of them before.", "based feature_dim=2", "attention")
    assert "[" not in outcome.out, "no run is reported as it ends, for none ran"
    after = {r.run_id: (store.directory(r.run_id) / "record.json").stat() for r in store.records()}
    assert after == before


def test_a_larger_sweep_runs_only_what_is_new(recall_bench: Command) -> None:
    words = ("sweep", "--arch", "short-conv", *SMOKE)
    recall_bench(*words).succeeded("1 run done.")
    recall_bench(*words, "--seeds", 2).succeeded("[2/2]", "2 runs done, 1 of them before.")


def test_learning_rates_can_race_for_further_seeds(recall_bench: Command) -> None:
    words = ("sweep", "--arch", "short-conv", "--preset", "smoke", "--store", "kept")
    options = ("--learning-rates", "1e-9,1e-2", "--seeds", 2, "--seeds-at-best-rate")
    recall_bench(*words, *options).succeeded("runs done.", "race")
    recall_bench(*words, *options).succeeded("of them before.")


def test_report_shows_every_point_within_80_columns(swept: Command) -> None:
    outcome = swept("report")
    outcome.succeeded("attention", "based feature_dim=2", "based feature_dim=4", "★")
    assert widest(outcome.out) <= 80


def test_report_takes_one_experiment_by_name(swept: Command, directory: Path) -> None:
    (name,) = set(ResultStore(directory / "runs").frame()["experiment"])
    swept("report", "--experiment", name).succeeded("attention")
    swept("report", "--experiment", "f00").refused("Unknown experiment 'f00'", name)


@pytest.mark.parametrize(
    ("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_plot_writes_every_format(
    swept: Command, tmp_path: Path, suffix: str, begins: bytes
) -> None:
    file = tmp_path / f"new/figure.{suffix}"
    swept("plot", "--output", file, "--title", "A title", "--annotate").succeeded("Wrote")
    assert file.read_bytes().startswith(begins)


def test_plot_refuses_another_format(swept: Command) -> None:
    swept("plot", "--output", "a.gif").refused("'.gif'", ".png", ".svg", ".pdf")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_export_holds_every_record_and_is_read_like_a_store(
    swept: Command, directory: Path, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"records.{suffix}"
    swept("export", "--output", file).succeeded(f"Wrote 3 records to {file}".replace("\n", ""))
    assert swept("report", "--store", file).out == swept("report").out
    figure = tmp_path / "figure.svg"
    swept("plot", "--store", directory / "runs", "--over", file, "--output", figure).succeeded()
    assert "(yours)" in figure.read_text()


def test_export_refuses_another_format(swept: Command) -> None:
    swept("export", "--output", "a.csv").refused("'.csv'", ".jsonl, .parquet")


def test_doctor_says_what_can_be_used_and_why_not(recall_bench: Command) -> None:
    outcome = recall_bench("doctor")
    outcome.succeeded("torch", "CUDA", "flash_attn", "taylor_attention", "reference")
    assert widest(outcome.out) <= 80
    assert re.search(r"fla +│ no: not installed|fla +│ yes", outcome.out)


def test_help_lists_the_knobs_with_ranges_and_what_the_preset_sets(recall_bench: Command) -> None:
    words = ("sweep", "--arch", "based", "--help")
    quick = " ".join(recall_bench(*words).out.replace("│", " ").split())
    assert "in each head (1 to 256; default 4, 8, 16)" in quick
    assert "default 6)" in quick
    smoke = " ".join(recall_bench(*words, "--preset", "smoke").out.replace("│", " ").split())
    assert "in each head (1 to 256; default 16)" in smoke


def test_no_words_at_all_show_the_help(recall_bench: Command) -> None:
    recall_bench().succeeded("Usage", "sweep", "doctor")


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_points_fit_into_80_columns_whatever_the_knobs(seeds: int) -> None:
    rows = [
        run("taylor-attention", 0.5 + 0.1 * seed, state_bytes=1_234_567, seed=seed, **knobs)
        for knobs in ({"feature_dim": 16, "window": 0}, {"feature_dim": 24, "window": 1024})
        for seed in range(seeds)
    ]
    small = [run("sliding-window", 0.1, state_bytes=30, layers="self", rotary=True)]
    other = [run("based", 0.3, vocab_size=4096)]
    console = Console(width=80, record=True)
    console.print(points_tables(table(*rows, *small, *other)))
    text = console.export_text()
    assert widest(text) <= 80
    assert "…" not in text
    assert text.count("Experiment ") == 2
    assert "feature_dim=24" in text
    assert "rotary" not in text, "a knob that does not vary says nothing"


def test_a_point_without_a_finished_run_has_no_bytes() -> None:
    rows = table(run("h3", 0.0, status="failed"), run("based", 0.5))
    rows.loc[rows["architecture"] == "h3", ["state_bytes", "parameters"]] = float("nan")
    console = Console(width=80, record=True)
    console.print(points_tables(pd.DataFrame(rows)))
    assert re.search(r"h3 +- +- +0!", console.export_text())
