import math
from pathlib import Path

import pytest
import torch

from recall_bench.config import RunConfig
from recall_bench.errors import UserError
from recall_bench.model.backbone import build_model
from recall_bench.store.record import TrainingRecord
from recall_bench.store.runs import CHECKPOINT
from recall_bench.training import loop as training
from recall_bench.training.batches import load_split
from recall_bench.training.loop import Interrupted, learning_rate_at, schedule, train
from recall_bench.training.scores import evaluate
from recall_bench.training.scoring import query_logits, score

TASK = {
    "name": "mqar",
    "vocab_size": 32,
    "train": "16:2:96,24:3:64",
    "validation": "16:2:40",
    "test": "16:2:40,24:4:40",
}


def run(**changes: object) -> RunConfig:
    fields = {
        "task": TASK,
        "architecture": {"name": "attention", "d_model": 16},
        "training": {"epochs": 2, "batch_size": 32, "early_stop": None, "learning_rate": 1e-2},
        **changes,
    }
    return RunConfig(**fields)


def scores(record: TrainingRecord) -> dict:
    exclude = {"timing", "environment", "started", "finished", "memory", "curve"}
    curve = [point.model_dump(exclude={"seconds"}) for point in record.curve]
    return {**record.model_dump(exclude=exclude), "curve": curve}


def test_a_run_is_recorded_with_scores_curve_memory_and_hashes() -> None:
    record = train(run(), device="cpu")
    assert record.status == "finished"
    assert [score.split for score in record.segments] == ["validation", "test", "test"]
    assert record.test_accuracy == pytest.approx(
        sum(s.accuracy for s in record.segments if s.split == "test") / 2
    )
    assert len(record.curve) == 2
    assert record.curve[-1].validation_accuracy == record.validation_accuracy
    assert record.timing is not None
    assert record.timing.steps == 2 * (3 + 2)
    assert set(record.data_hash) == {"train", "validation", "test"}
    assert record.memory is not None
    assert record.memory.state_length == 24
    assert record.environment["kernels"]


def test_a_record_names_the_kernels_of_the_run_and_none_that_only_measured_its_state() -> None:
    kernels = train(run(), device="cpu").environment["kernels"]
    assert "attention_at" in kernels  # what the last layer runs where something is asked
    assert "attention" not in kernels  # what prefill runs


def test_equal_configs_give_equal_scores_and_other_seeds_other_data() -> None:
    first, again, other = train(run(), device="cpu"), train(run(), device="cpu"), train(run(seed=1))
    assert scores(first) == scores(again)
    assert first.data_hash["train"] != other.data_hash["train"]


def test_training_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(run(), device="cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_an_interrupted_run_ends_with_the_scores_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(training, "HEARTBEAT_SECONDS", 0.0)
    whole = train(run(), device="cpu")
    for stop_at in (1, 4, 5, 7, 9):
        beats = iter(range(1000))
        with pytest.raises(Interrupted):
            train(
                run(),
                directory=tmp_path,
                device="cpu",
                stop=lambda at=stop_at, beats=beats: next(beats) == at - 1,
            )
        resumed = train(run(), directory=tmp_path, device="cpu")
        assert scores(resumed) == scores(whole)
        assert resumed.timing is not None
        assert resumed.timing.resumed == 1
        (tmp_path / CHECKPOINT).unlink()


def test_a_truncated_checkpoint_is_named_and_the_run_starts_again(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.warns(UserWarning, match=r"checkpoint\.pt cannot be used"):
        record = train(run(), directory=tmp_path, device="cpu")
    assert scores(record) == scores(train(run(), device="cpu"))


def test_a_checkpoint_of_another_version_is_named_and_the_run_starts_again(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": {}}, tmp_path / CHECKPOINT)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt cannot be used .*starts again"):
        record = train(run(), directory=tmp_path, device="cpu")
    assert record.status == "finished"


def test_divergence_is_a_record_with_its_reason(monkeypatch) -> None:
    recipe = {"epochs": 3, "batch_size": 32, "learning_rate": 1e9, "early_stop": None}
    record = train(run(training=recipe), device="cpu")
    assert record.status == "diverged"
    assert record.reason is not None
    assert "loss was" in record.reason
    assert record.test_accuracy is None
    assert len(record.curve) < 3


def test_early_stop_looks_at_validation_and_ends_training() -> None:
    recipe = {"epochs": 40, "batch_size": 16, "learning_rate": 1e-2, "early_stop": 0.05}
    record = train(run(training=recipe), device="cpu")
    assert record.curve[-1].validation_accuracy > 0.05
    assert all(point.validation_accuracy <= 0.05 for point in record.curve[:-1])
    assert len(record.curve) < 40


def test_the_learning_rate_is_a_cosine_stepped_once_an_epoch() -> None:
    recipe = run(training={"epochs": 4, "learning_rate": 1.0}).training
    rates = [learning_rate_at(epoch, recipe) for epoch in range(4)]
    assert rates == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)])


def test_batches_never_mix_segments_and_interleaving_keeps_all_of_them() -> None:
    data, _ = load_split(run().task, "train", 0, torch.device("cpu"))
    recipe = run().training
    in_order = schedule(data, recipe)
    assert in_order == [(0, 0), (0, 32), (0, 64), (1, 0), (1, 32)]
    mixed = schedule(data, recipe.model_copy(update={"order": "interleaved"}))
    assert mixed == [(0, 0), (1, 0), (0, 32), (1, 32), (0, 64)]


def test_logits_at_the_queries_equal_those_of_the_whole_sequence() -> None:
    model = build_model(run()).eval()
    data, _ = load_split(run().task, "test", 0, torch.device("cpu"))
    inputs, positions, targets, _ = data[0].batch(0, 8)
    everywhere = model.logits(model(inputs))
    picked = everywhere.gather(1, positions[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(query_logits(model, inputs, positions), picked)
    assert targets.shape == positions.shape


def test_evaluation_counts_what_a_perfect_and_a_blind_model_get() -> None:
    class Oracle(torch.nn.Module):
        """Answers right, or always with token 0."""

        sequence_readout = None

        def __init__(self, data, right: bool):
            super().__init__()
            self.lookup = {
                tuple(i.tolist()): (p, t)
                for d in data
                for i, p, t in zip(d.inputs, d.positions, d.targets, strict=True)
            }
            self.right = right
            self.embedding = torch.nn.Embedding.from_pretrained(torch.eye(32))

        def forward(self, inputs, positions, order=None):
            out = torch.zeros(*positions.shape, 32)
            for row, tokens in enumerate(inputs):
                asked, targets = self.lookup[tuple(tokens.tolist())]
                assert torch.equal(asked, positions[row])
                if self.right:
                    out[row, torch.arange(len(targets)), targets] = 9.0
            return out

    data, _ = load_split(run().task, "test", 0, torch.device("cpu"))
    perfect = evaluate(score(Oracle(data, True), data, 16), data, "test")
    assert perfect.accuracy == 1.0
    assert all(score.accuracy == 1.0 for score in perfect.slices)
    pairs = {score.value: score.queries for score in perfect.slices if score.name == "pairs"}
    assert pairs == {2: 80, 4: 160}
    assert evaluate(score(Oracle(data, False), data, 16), data, "test").accuracy == 0.0


def test_tf32_and_unknown_devices_are_refused_with_a_message() -> None:
    with pytest.raises(UserError, match="tf32 needs a CUDA device"):
        train(run(training={"precision": "tf32"}), device="cpu")
    with pytest.raises(UserError, match="Unknown device 'gpu0'"):
        train(run(), device="gpu0")


def test_bf16_training_follows_fp32_on_a_cpu() -> None:
    def losses(precision: str) -> list[float]:
        recipe = {"epochs": 4, "batch_size": 32, "early_stop": None, "precision": precision}
        record = train(run(training={**recipe, "learning_rate": 1e-2}), device="cpu")
        return [point.train_loss for point in record.curve]

    assert losses("bf16") == pytest.approx(losses("fp32"), rel=0.02)
