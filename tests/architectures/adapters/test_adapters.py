"""Layers that follow the protocols of other packages become mixers that keep the contract."""

from collections.abc import Callable

import pytest
import torch
from foreign_layers import FlaAttention, FlaLinearAttention, SsmLayer
from torch import Tensor, nn

from recall_bench.architectures import Architecture, CheckOn, Mixer
from recall_bench.architectures.adapters import fla_layer, mamba_layer, plain_module
from recall_bench.architectures.adapters.fla import FlaCache
from recall_bench.config import ModelConfig
from recall_bench.errors import UserError
from recall_bench.model.backbone import Model
from recall_bench.model.state_size import measure_layers, total_bytes
from recall_bench.testing import check_mixer

WIDTH = 8

MAKERS: dict[str, Callable[[], Mixer]] = {
    "fla": lambda: fla_layer(FlaLinearAttention(WIDTH, layer_idx=0)),
    "fla-without-conv": lambda: fla_layer(FlaLinearAttention(WIDTH, layer_idx=0, short=False)),
    "fla-attention": lambda: fla_layer(FlaAttention(WIDTH, layer_idx=0), grows=True),
    "mamba_ssm": lambda: mamba_layer(SsmLayer(WIDTH, layer_idx=3)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_wrapped_layer_keeps_the_contract(name: str) -> None:
    report = check_mixer(MAKERS[name], width=WIDTH, length=24)
    report.raise_if_failed()
    assert report.verified == "16/17 float64 cpu"
    (missing,) = [result for result in report.results if result.outcome == "not offered"]
    assert missing.property == "the meta device gives the same state"


@pytest.mark.parametrize(
    ("precision", "where"), [("fp32", "float32 cpu"), ("bf16", "bfloat16 cpu")]
)
@pytest.mark.parametrize("name", MAKERS)
def test_a_wrapped_layer_is_checked_in_other_precisions(
    name: str, precision: str, where: str
) -> None:
    report = check_mixer(MAKERS[name], width=WIDTH, length=24, on=CheckOn("cpu", precision))
    report.raise_if_failed()
    assert report.verified == f"16/17 {where}"


@pytest.mark.parametrize("name", ["fla", "mamba_ssm"])
def test_a_wrapped_layer_that_decodes_wrongly_fails(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silu = torch.nn.functional.silu
    changed = "foreign_layers.F.silu"
    monkeypatch.setattr(changed, lambda x: silu(x) if x.ndim == 3 else 1.01 * silu(x))
    report = check_mixer(MAKERS[name], width=WIDTH, length=24)
    assert "forward equals a scan of step" in [failed.property for failed in report.failures]


def test_a_gru_without_steps_is_checked_for_what_it_has() -> None:
    report = check_mixer(
        lambda: plain_module(nn.GRU(WIDTH, WIDTH, batch_first=True)), width=WIDTH, length=24
    )
    report.raise_if_failed()
    assert report.verified == "8/17 float64 cpu"
    missing = {result.property for result in report.results if result.outcome == "not offered"}
    assert missing > {"prefill equals steps", "state bytes are honest"}


def test_a_plain_module_that_looks_ahead_fails() -> None:
    report = check_mixer(
        lambda: plain_module(nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)),
        width=WIDTH,
        length=24,
    )
    assert "changing the future changes no past output" in [
        failed.property for failed in report.failures
    ]


def test_a_state_holds_what_the_layer_keeps_and_no_count_that_it_does_not_read() -> None:
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    _, state = MAKERS["fla"]().prefill(x)
    assert set(state) == {"recurrent_state", "conv_state"}
    assert [tuple(tail.shape) for tail in state["conv_state"]] == [(2, WIDTH, 4)] * 3
    _, state = MAKERS["fla-attention"]().prefill(x)
    assert set(state) == {"attn_state", "seen_tokens"}
    assert state["seen_tokens"].tolist() == [5, 5]


def test_keys_and_values_beyond_the_window_are_dropped() -> None:
    cache = FlaCache()
    keys = torch.arange(6.0)[None, :, None]
    for start, end in ((0, 4), (4, 5), (5, 6)):
        part = keys[:, start:end]
        cache.update(attn_state=(part, part), cache_kwargs={"window_size": 3})
    assert cache[0]["attn_state"][0].flatten().tolist() == [3, 4, 5]
    assert cache.get_seq_length(0) == 6


def test_a_cache_keeps_what_an_update_leaves_out() -> None:
    cache = FlaCache()
    assert len(cache) == 0
    with pytest.raises(KeyError, match="not layer 0"):
        cache[0]
    cache.update(recurrent_state=torch.ones(1), offset=7)
    cache.update(conv_state=torch.zeros(1), offset=1)
    assert len(cache) == 1
    assert cache[0]["recurrent_state"].item() == 1
    assert cache[0]["ffn_state"] is None
    assert cache.get_seq_length() == 8


class Wrapped(Architecture):
    """A stack of one wrapped layer."""

    d_model: int = WIDTH
    layers: str = "self"

    def mixer(self) -> Mixer:
        return MAKERS["fla"]()


class Unmeasured(Wrapped):
    state_bytes: int | None = None

    def mixer(self) -> Mixer:
        return plain_module(nn.GRU(WIDTH, WIDTH, batch_first=True), self.state_bytes)


def test_bytes_of_a_wrapped_layer_are_those_of_its_cache() -> None:
    (layer,) = measure_layers(Wrapped(), 20)
    assert layer.bytes == 4 * (2 * 4 * 4 + 3 * WIDTH * 4)
    assert (layer.measured, layer.dtype) == (True, "float32")


def test_bytes_of_a_plain_module_are_stated_or_not_known() -> None:
    (layer,) = measure_layers(Unmeasured(state_bytes=32), 20)
    assert (layer.bytes, layer.measured) == (32, False)
    layers = measure_layers(Unmeasured(), 20)
    assert (layers[0].bytes, total_bytes(layers)) == (None, None)


def test_a_model_decodes_only_if_all_of_its_layers_do() -> None:
    assert Model(Wrapped(), ModelConfig(), 10).recurrent
    assert not Model(Unmeasured(layers="short-conv+self"), ModelConfig(), 10).recurrent


def test_layers_that_cannot_be_wrapped_are_refused() -> None:
    with pytest.raises(UserError, match=r"layer_idx=None\. Expected layer_idx=0"):
        fla_layer(FlaLinearAttention(WIDTH))
    with pytest.raises(UserError, match="GRU without layer_idx"):
        mamba_layer(nn.GRU(WIDTH, WIDTH))
    layer = FlaLinearAttention(WIDTH, layer_idx=0)
    del layer.hidden_size
    with pytest.raises(UserError, match=r"fla_layer\(layer, width="):
        fla_layer(layer)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        plain_module(nn.GRU(WIDTH, WIDTH), -1)


def test_a_check_on_a_device_that_is_not_there_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--unchecked"):
        check_mixer(MAKERS["fla"], width=WIDTH, on=CheckOn("cuda"))


def test_a_layer_that_refuses_float32_runs_in_bfloat16_inside_a_float32_model() -> None:
    class RefusesFloat32(FlaLinearAttention):
        def convolve(
            self, x: Tensor, weight: Tensor, cache: Tensor | None
        ) -> tuple[Tensor, Tensor | None]:
            assert x.dtype == torch.bfloat16
            return super().convolve(x, weight, cache)

    def mixer() -> Mixer:
        return fla_layer(RefusesFloat32(WIDTH, layer_idx=0), bf16=True)

    check_mixer(
        mixer, width=WIDTH, length=24, on=CheckOn("cpu", "fp32", tolerance=5e-2)
    ).raise_if_failed()
    y, state = mixer().prefill(torch.ones(1, 3, WIDTH))
    assert y.dtype == torch.float32
    assert [tail.dtype for tail in state["conv_state"]] == [torch.bfloat16] * 3
