from itertools import pairwise

import pytest
import torch
from torch import Tensor

from recall_bench.architectures.softmax.attention_layer import AttentionMixer
from recall_bench.config import ModelConfig, RunConfig
from recall_bench.kernels.embedding import token_order
from recall_bench.model.backbone import build_model, isolated_rng
from recall_bench.tasks import IGNORE
from recall_bench.training import loop as training
from recall_bench.training.batches import load_split
from recall_bench.training.device import precision_of
from recall_bench.training.graphs import (
    VARIABLE,
    GraphSteps,
    PackedBatches,
    _differ,
    make_steps,
)
from recall_bench.training.loop import train
from recall_bench.training.optimizer import AdamW
from recall_bench.training.steps import Steps

TASK = {
    "name": "mqar",
    "vocab_size": 64,
    "train": "16:2:90,24:3:64",
    "validation": "16:2:40",
    "test": "16:2:40,24:4:40",
}
KNOBS = {"rwkv": {"head_dim": 8}}
BATCH = 32


def config(architecture: str = "attention", **recipe: object) -> RunConfig:
    return RunConfig(
        task=TASK,
        architecture={"name": architecture, "d_model": 16, **KNOBS.get(architecture, {})},
        training={"epochs": 2, "batch_size": BATCH, "early_stop": None, **recipe},
    )


def test_packed_batches_are_the_batches_with_the_last_one_filled_up() -> None:
    data, _ = load_split(config().task, "train", 0, torch.device("cpu"))
    for part in data:
        packed = PackedBatches(part, BATCH, vocabulary=64)
        for row, start in enumerate(range(0, len(part.inputs), BATCH)):
            expected, got = part.batch(start, BATCH), packed.batch(torch.tensor([row]))
            rows = len(expected.inputs)
            for ours, theirs in zip(got[:3], expected[:3], strict=True):
                assert ours.dtype == theirs.dtype
                assert torch.equal(ours[:rows], theirs)
            assert (got.targets[rows:] == IGNORE).all()
            assert got.order is not None
            assert all(map(torch.equal, got.order, token_order(got.inputs, 64)))


def test_means_differ_where_any_tensor_is_far_off_and_not_by_rounding() -> None:
    large, small = torch.full((10,), 1.0), torch.full((10,), 0.1)
    assert not _differ([large, small], [large * 1.001, small * 1.001])
    assert _differ([large, small], [large, small * 2])
    assert not _differ([large, small * 1e-4], [large, small * -1e-4])


def test_steps_without_a_gpu_are_eager_and_the_record_says_so() -> None:
    assert train(config(), device="cpu").environment["step"] == "eager"


def test_every_step_drops_other_features_of_the_embeddings() -> None:
    run = config().model_copy(update={"model": ModelConfig(embedding_dropout=0.5)})
    data, _ = load_split(run.task, "train", 0, torch.device("cpu"))
    model = build_model(run)
    steps = Steps(model, AdamW(model.parameters(), 1e-2, 0.1), data, run.training)
    steps.optimizer.set_rate(0.0)  # the weights stay, so that only dropout can change the loss
    sums = [0.0]
    for _ in range(4):
        steps.take(0, 0)
        sums.append(steps.loss.item())
    assert len({after - before for before, after in pairwise(sums)}) == 4


def sum_of_losses(steps: Steps, rate: float) -> list[float]:
    """The losses of two epochs, batch by batch, the second in another order."""
    steps.optimizer.set_rate(rate)
    losses, before = [], 0.0
    for order in ([(0, 0), (0, 32), (0, 64), (1, 0), (1, 32)], [(1, 32), (0, 64), (1, 0), (0, 0)]):
        for index, start in order:
            steps.take(index, start)
            losses.append(steps.loss.item() - before)
            before = steps.loss.item()
    return losses


@pytest.mark.gpu
@pytest.mark.parametrize("architecture", ["attention", "based", "mamba", "h3", "rwkv"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_graphs_take_the_steps_that_eager_execution_takes(
    architecture: str, precision: str
) -> None:
    place = torch.device("cuda")
    run = config(architecture, precision=precision, gradient_clip=1.0)

    def losses(kind: type[Steps]) -> list[float]:
        with isolated_rng(0, place), precision_of(run.training.precision, place):
            data, _ = load_split(run.task, "train", 0, place)
            model = build_model(run).to(place)
            steps = kind(model, AdamW(model.parameters(), 1e-2, 0.1), data, run.training)
            return sum_of_losses(steps, 1e-2)

    assert losses(GraphSteps) == pytest.approx(losses(Steps), rel=2e-2)


class WaitingMixer(AttentionMixer):
    """Reads a number from the device in every forward pass, which no graph can."""

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        return super().at(x, positions) * (1 if x.sum().item() < 1e9 else 2)


class ForgetfulMixer(AttentionMixer):
    """Depends on a number that only the host changes, which a graph never sees change."""

    calls = 0

    def at(self, x: Tensor, positions: Tensor) -> Tensor:
        self.calls += 1
        return super().at(x, positions) * self.calls


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("mixer", "reason"), [(WaitingMixer, "captur"), (ForgetfulMixer, "from a graph")]
)
def test_a_mixer_that_no_graph_can_hold_trains_without_one_and_says_why(
    mixer: type[AttentionMixer], reason: str
) -> None:
    place, run = torch.device("cuda"), config()
    with isolated_rng(0, place):
        data, _ = load_split(run.task, "train", 0, place)
        model = build_model(run)
        model.layers[1].mixer = mixer(16)
        model.to(place)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        steps = make_steps(model, AdamW(model.parameters(), 1e-2, 0.1), data, run.training)
        assert steps.how.startswith("eager, no CUDA graph")
        assert reason in steps.how
        assert all(map(torch.equal, before, model.parameters()))
        assert len(sum_of_losses(steps, 1e-2)) == 9


@pytest.mark.gpu
def test_an_interrupted_run_on_graphs_ends_as_an_uninterrupted_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(training, "HEARTBEAT_SECONDS", 0.0)
    whole = train(config(), device="cuda")
    assert whole.environment["step"] == "CUDA graph"
    beats = iter(range(1000))
    with pytest.raises(training.Interrupted):
        train(config(), directory=tmp_path, device="cuda", stop=lambda: next(beats) == 3)
    resumed = train(config(), directory=tmp_path, device="cuda")
    assert resumed.test_loss == pytest.approx(whole.test_loss, rel=1e-5)
    assert resumed.curve[-1].train_loss == pytest.approx(whole.curve[-1].train_loss, rel=1e-5)


@pytest.mark.gpu
def test_graphs_can_be_turned_off(monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    assert train(config(), device="cuda").environment["step"] == f"eager: {VARIABLE}=0"
