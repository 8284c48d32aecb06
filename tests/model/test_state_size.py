import pytest
import torch

from recall_bench import registry
from recall_bench.architectures import Architecture, Mixer
from recall_bench.model.state_size import measure_layers, state_bytes


def measured(name: str, length: int, dtype: torch.dtype = torch.float32, **knobs: object) -> int:
    architecture = registry.architectures.get(name)(layers="self", **knobs)
    return sum(layer.bytes for layer in measure_layers(architecture, length, dtype))


def test_nested_states_are_counted_by_tensor_and_dtype() -> None:
    state = {"a": torch.zeros(2, 3), "b": {"c": (torch.zeros(5, dtype=torch.int64),)}}
    assert state_bytes(state) == 2 * 3 * 4 + 5 * 8


def test_what_is_no_tensor_is_no_state() -> None:
    with pytest.raises(TypeError, match="got a str"):
        state_bytes({"a": "hidden"})


def test_attention_carries_a_key_and_a_value_a_token() -> None:
    assert measured("attention", 100, d_model=64) == 2 * 64 * 4 * 100
    assert measured("attention", 100, torch.bfloat16, d_model=64) == 2 * 64 * 2 * 100


def test_a_window_carries_its_ring_buffer_however_long_the_text() -> None:
    sizes = {measured("sliding-window", length, d_model=64, window=16) for length in (4, 64, 300)}
    assert len(sizes) == 1
    assert 0 <= sizes.pop() - 2 * 64 * 4 * 16 <= 8  # a position beside the buffer


def test_taylor_attention_carries_packed_features_and_their_normaliser() -> None:
    assert measured("taylor-attention", 50, d_model=64, feature_dim=16) == 4 * 153 * (64 + 1)


def test_layers_are_reported_from_the_bottom_up() -> None:
    layers = measure_layers(registry.architectures.get("based")(), 64)
    assert [layer.layer for layer in layers] == [
        "0.short-conv",
        "1.taylor-attention",
        "2.sliding-window",
    ]
    assert layers[0].bytes == 2 * 64 * 4


def test_a_mixer_whose_state_depends_on_its_numbers_is_measured_with_real_ones() -> None:
    class NeedsNumbers(Mixer):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def prefill(self, x, state=None):
            kept = x[:, x[0].std(-1) * self.weight.sum() > 0]  # nothing of zeros
            return x, {"past": kept}

        def step(self, x, state):
            return x, {"past": torch.cat([state["past"], x[:, None]], 1)}

    class Recipe(Architecture):
        d_model: int = 4
        layers: str = "self"

        def mixer(self) -> Mixer:
            return NeedsNumbers()

    assert [layer.bytes for layer in measure_layers(Recipe(), 10)] == [10 * 16]


def test_the_state_is_that_after_the_last_step_of_decoding() -> None:
    class GrowsInSteps(Mixer):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4))

        def prefill(self, x, state=None):
            return x, {"sum": x.sum(1)}

        def step(self, x, state):
            return x, {**state, "last": x}

    class Stepping(Architecture):
        d_model: int = 4
        layers: str = "self"

        def mixer(self) -> Mixer:
            return GrowsInSteps()

    assert [layer.bytes for layer in measure_layers(Stepping(), 10)] == [2 * 16]
    assert [layer.bytes for layer in measure_layers(Stepping(), 1)] == [16]


def test_measuring_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    measured("mamba", 5, d_model=8)
    assert torch.equal(before, torch.get_rng_state())
