import pytest
import torch

from recall_bench.bench import start
from recall_bench.bench.training import run_config
from recall_bench.errors import UserError
from recall_bench.store.schemas import parse


def test_a_cold_and_a_warm_start_are_told_apart_by_phase(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    record = start.bench_start(["short-conv"], "smoke", "cpu", tmp_path)
    cold, warm = record.rows
    assert (cold["start"], warm["start"]) == ("cold", "warm")
    for row in (cold, warm):
        assert sum(row["phases"].values()) == pytest.approx(row["wall_seconds"])
        assert row["phases"]["train"] > 0
        assert row["phases"]["compile"] == 0
    assert cold["command"].startswith("recall-bench sweep --preset smoke --arch short-conv")
    assert parse((tmp_path / "start.json").read_bytes()).record == record
    assert (record.kind, record.status, record.bench) == ("timing", "finished", "start")
    assert "| compilation | 0.00 | 0.00 |" in (tmp_path / "start.md").read_text()


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path) -> None:
    with pytest.raises(UserError, match=r"left 0 records and exit code 2.*No such option"):
        start.measure(["sweep", "--arch", "attention", "--nonsense"], "cold", tmp_path)


def test_the_command_of_a_preset_gives_every_knob_that_the_preset_sweeps() -> None:
    config = run_config("based", "figure2", torch.device("cpu"), "bf16")
    words = " ".join(start.command(config, "figure2", "cuda"))
    assert words == (
        "sweep --preset figure2 --arch based --d-model 64 --feature-dim 16 --window 0 "
        "--learning-rates 0.003162 --precision bf16 --device cuda --processes 1"
    )
