import torch

from recall_bench import registry
from recall_bench.bench.training import bench_training, demand, run_config
from recall_bench.config import RunConfig
from recall_bench.model.backbone import build_model
from recall_bench.recipes.presets import PRESETS
from recall_bench.store.schemas import parse
from recall_bench.training.batches import Batch
from recall_bench.training.scoring import query_loss


def test_the_bench_times_steps_and_runs_and_writes_its_record(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("recall_bench.bench.training.SAMPLE_SECONDS", 0.0)
    record = bench_training(["taylor-attention"], "smoke", "cpu", tmp_path)
    (row,) = record.rows
    assert [part["batches"] for part in row["segments"]] == [4, 4]
    times = [part["milliseconds"] for part in row["segments"]]
    assert min(times) <= row["mix"] <= max(times)
    assert 0 < row["mix_floor"] < row["mix"]
    assert row["run"]["steps"] == 2 * 8
    assert row["step"] == "eager"
    assert parse((tmp_path / "training.json").read_bytes()).record == record
    assert (record.kind, record.status, record.bench) == ("timing", "finished", "training")
    text = (tmp_path / "training.md").read_text()
    assert "| taylor-attention | mix |" in text
    assert "32:4:256" in text


def test_the_floor_counts_the_matrix_products_of_forward_and_backward() -> None:
    config = RunConfig(
        task={"name": "mqar", **PRESETS["smoke"].tasks["mqar"]},
        architecture={"name": "attention", "d_model": 16, "layers": "self"},
    )
    model = build_model(config)
    B, L, Q, D, V = 4, 32, 2, 16, config.task.tokens
    batch = Batch(torch.zeros(B, L).int(), torch.zeros(B, Q).long(), torch.zeros(B, Q).long())
    flops, moved = demand(config, model, batch)
    # Keys and values of all tokens; queries, outputs and logits where something is asked.
    maps = 2 * B * L * D * 2 * D + 2 * B * Q * D * (D + D + V)
    assert 3 * maps < flops < 3 * maps + 16 * B * Q * L * D  # and the scores of attention
    assert moved == 32 * sum(p.numel() for p in model.parameters()) + 4 * B * L * D * 4
    assert torch.isfinite(query_loss(model, batch))


def test_the_published_shapes_are_timed_for_every_architecture_of_figure_2() -> None:
    for name in registry.architectures.builtin():
        cls = registry.architectures.get(name)
        assert ("figure2" in cls.bench) == ("figure2" in cls.grids)
    config = run_config("based", "figure2", torch.device("cpu"))
    assert (config.architecture.d_model, config.architecture.feature_dim) == (64, 16)
    assert config.training.early_stop is None
