"""Whose knobs a layer has, and that the same stack has one spelling in records."""

import pytest
from pydantic import Field, ValidationError
from torch import nn

from recall_bench import registry
from recall_bench.architectures import Architecture, Mixer, stacking
from recall_bench.config import RunConfig, build, short_hash
from recall_bench.errors import UserError


def arch(name, **knobs):
    return build(registry.architectures, {"name": name, **knobs})


def resolved(architecture):
    """The knobs of each layer that differ from its class's defaults."""
    return [
        (
            part.name,
            {
                knob: value
                for knob in type(part).model_fields.keys() - {"layers"}
                if (value := getattr(part, knob)) != type(part).model_fields[knob].default
            },
        )
        for part in (
            stacking.component(architecture, layer) for layer in architecture.parsed_layers()
        )
    ]


def test_each_layer_has_its_own_knobs_and_the_width_of_the_stack():
    stack = arch("h3", d_model=32, d_state=8, layers="mamba{d_state=4}+self+self{d_state=2}")
    assert resolved(stack) == [
        ("mamba", {"d_model": 32, "d_state": 4}),
        ("h3", {"d_model": 32, "d_state": 8}),
        ("h3", {"d_model": 32, "d_state": 2}),
    ]


def test_only_layers_of_the_default_stack_share_knobs_by_name():
    stack = arch("based", window=8, kernel_size=5, layers="short-conv+self+sliding-window+mamba")
    assert resolved(stack) == [
        ("short-conv", {"kernel_size": 5}),
        ("based", {"window": 8, "kernel_size": 5}),
        ("sliding-window", {"window": 8}),
        ("mamba", {}),
    ]
    assert resolved(arch("rwkv", layers="h3+self")) == [("h3", {}), ("rwkv", {})]


def test_based_leaves_out_windows_without_tokens_alone():
    assert arch("based", window=0).layer_names() == ["short-conv", "taylor-attention"]
    stack = arch("based", window=0, layers="self+sliding-window{window=4}+sliding-window")
    assert resolved(stack)[1] == ("sliding-window", {"window": 4})
    assert [name for name, _ in stack.stack()] == ["based", "sliding-window"]


@pytest.mark.parametrize(
    ("name", "written", "stored"),
    [
        ("mamba", "self*2", "self+self"),
        ("mamba", "(short-conv + self)*2", "short-conv+self+short-conv+self"),
        ("mamba", "short-conv + self", "short-conv + self"),
        ("mamba", "self{d_state=16}*2", "self+self"),
        ("mamba", "self{expand=1,d-state=08}+self", "self{d_state=8,expand=1}+self"),
        ("rwkv", "self+rwkv5", "self+rwkv"),
        ("mamba", "rwkv5+self", "rwkv+self"),
        ("based", "self+sliding-window{window=64}", "self+sliding-window"),
        ("based", "self+attention{rotary=TRUE}", "self+attention{rotary=true}"),
        ("rwkv", "h3+self", "h3{head_dim=1}+self"),
        ("h3", "rwkv+self", "rwkv{head_dim=64}+self"),
        ("attention", "mamba+self", "mamba+self"),
    ],
)
def test_the_same_stack_is_stored_in_one_spelling(name, written, stored):
    made = arch(name, layers=written)
    assert made.layers == stored
    assert arch(name, layers=stored) == made


def test_a_stack_whose_meaning_changed_has_another_run_id():
    run = RunConfig(task={"name": "mqar"}, architecture={"name": "rwkv", "layers": "h3+self"})
    former = run.model_dump(mode="json")
    former["architecture"]["layers"] = "h3+self"  # H3 took RWKV's head_dim of 64
    assert run.run_id != f"mqar-rwkv-{short_hash({'config': former, 'versions': run.versions})}"


def test_a_misspelt_knob_and_one_of_the_whole_stack_are_refused():
    with pytest.raises(UserError, match=r"'mamba' has no knob 'd_sate'. Did you mean 'd_state'"):
        arch("h3", layers="mamba{d_sate=3}+self")
    with pytest.raises(UserError, match="'d_model' belongs to the whole stack"):
        arch("h3", layers="self{d_model=3}")
    with pytest.raises(UserError, match=r"h3\{d_state=3\}: d_state must be even.*Got 3"):
        arch("mamba", layers="h3{d_state=3}+self")


def test_an_unknown_layer_is_refused_once_it_is_built_so_that_records_are_read_without_plugins():
    stack = arch("h3", layers="mambo+self{d_state=4}")
    assert stack.layers == "mambo+self{d_state=4}"
    with pytest.raises(UserError, match="Did you mean 'mamba'"):
        stack.stack()


class Placed(Architecture):
    """Mixers that know their place."""

    layers: str = Field("self*3")
    scale: float = Field(1.0)

    def mixer(self, layer: int = 0, layers: int = 1) -> Mixer:
        made = Mixer()
        made.add_module("place", nn.Linear(layer + 1, layers))
        return made


def test_a_mixer_is_told_its_place_where_its_signature_takes_it():
    sizes = [(m.place.in_features, m.place.out_features) for _, m in Placed().stack()]
    assert sizes == [(1, 3), (2, 3), (3, 3)]
    mixed = Placed(d_model=8, layers="short-conv+self{scale=2}").stack()
    assert (mixed[1][1].place.in_features, mixed[1][1].place.out_features) == (2, 2)


def test_a_knob_out_of_range_names_its_layer():
    with pytest.raises(ValidationError, match=r"mamba\{d_state=0\}: d_state: Input should be"):
        registry.architectures.get("h3")(layers="mamba{d_state=0}")
