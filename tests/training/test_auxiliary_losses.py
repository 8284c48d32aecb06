"""Losses that a mixer adds to the objective: they train, and the record names them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recall_bench import registry
from recall_bench.architectures import Architecture, Carry
from recall_bench.architectures.convolution.short_conv_layer import ShortConvMixer
from recall_bench.config import RunConfig
from recall_bench.training import Interrupted, train

WEIGHT = 0.5


class SpreadConvMixer(ShortConvMixer):
    """Asks for a gate whose squares are 1, and adds noise that the step's seed decides."""

    def mix(self, x: Tensor, carry: Carry) -> Tensor:
        carry.loss("spread", WEIGHT * (self.gate(x).square() - 1).square().mean())
        y = super().mix(x, carry)
        return y if carry.seed is None else y + 1e-3 * torch.sin(carry.seed.double()).to(y)


class SpreadConv(Architecture):
    def mixer(self) -> SpreadConvMixer:
        return SpreadConvMixer(self.d_model)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setitem(registry.architectures._registered, "spread-conv", SpreadConv)
    monkeypatch.setattr(SpreadConv, "name", "spread-conv")
    task = {"name": "mqar", "vocab_size": 32} | dict.fromkeys(
        ("train", "validation", "test"), "16:2:64"
    )
    return RunConfig(
        task=task,
        architecture={"name": "spread-conv", "d_model": 8, "layers": "self+self"},
        training={"epochs": 3, "batch_size": 16, "early_stop": None, "learning_rate": 1e-2},
    )


def test_auxiliary_losses_fall_and_every_layer_is_recorded(config: RunConfig) -> None:
    curve = train(config, device="cpu").curve
    names = {"0.spread-conv.spread", "1.spread-conv.spread"}
    assert all(set(point.auxiliary) == names for point in curve)
    for name in names:
        first, *_, last = (point.auxiliary[name] for point in curve)
        assert 0 < last < 0.9 * first


def test_the_recorded_training_loss_is_the_cross_entropy_alone(config: RunConfig) -> None:
    (first, *_) = train(config, device="cpu").curve
    uniform = F.cross_entropy(torch.zeros(1, 32), torch.tensor([0])).item()
    assert first.train_loss == pytest.approx(uniform, rel=0.2)
    assert sum(first.auxiliary.values()) > 0.5


def test_an_interrupted_run_records_the_same_auxiliary_losses(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recall_bench.training.loop.HEARTBEAT_SECONDS", 0.0)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        train(config, device="cpu", directory=tmp_path, stop=lambda: next(calls) == 5)
    resumed = train(config, device="cpu", directory=tmp_path)
    whole = train(config, device="cpu")
    assert [p.auxiliary for p in resumed.curve] == [p.auxiliary for p in whole.curve]
    assert resumed.timing is not None
    assert resumed.timing.resumed == 1
