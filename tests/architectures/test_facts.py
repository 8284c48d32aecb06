"""What architectures say of themselves: complete for built-in ones, never inherited by others."""

from pathlib import Path

import pytest
from matplotlib.markers import MarkerStyle

import recall_bench.architectures
from recall_bench import registry
from recall_bench.architectures.facts import FAMILIES
from recall_bench.config import ModelConfig, TrainingConfig, build
from recall_bench.errors import UserError
from recall_bench.recipes import suites
from recall_bench.recipes.presets import PRESETS
from recall_bench.registry import register_architecture

BUILTIN = registry.architectures.builtin()


@pytest.mark.parametrize("name", BUILTIN)
def test_every_built_in_architecture_says_its_paper_family_and_a_marker(name: str) -> None:
    cls = registry.architectures.get(name)
    assert cls.source.url.startswith("https://arxiv.org/abs/")
    assert cls.family == Path(__import__(cls.__module__, fromlist=["x"]).__file__).parent.name
    assert MarkerStyle(cls.marker)
    assert set(cls.published_recipe) <= {*ModelConfig.model_fields, *TrainingConfig.model_fields}


def test_folders_are_families_and_markers_differ_within_one() -> None:
    folder = Path(recall_bench.architectures.__file__).parent
    assert {file.parent.name for file in folder.glob("[!_]*/*.py")} <= {
        *FAMILIES,
        "adapters",
        "pieces",
    }
    looks = [(cls.family, cls.marker) for cls in map(registry.architectures.get, BUILTIN)]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize("name", BUILTIN)
def test_sizes_are_those_of_presets_and_suites_that_exist_and_can_be_built(name: str) -> None:
    cls = registry.architectures.get(name)
    assert {*cls.grids, *cls.bench} <= set(PRESETS)
    assert {*cls.suites, *cls.counterparts} <= set(suites.SUITES)
    for preset in PRESETS.values():
        for knobs in preset.knob_settings(name, {}):
            build(registry.architectures, {"name": name, **knobs})
    for knobs in cls.bench.values():
        cls(**knobs)


def test_counterparts_are_models_of_the_published_table() -> None:
    mad = suites.get("mad")
    found = {name: mad.counterpart(name) for name in BUILTIN if mad.counterpart(name)}
    assert found == {"attention": "Transformer", "mamba": "Mamba"}
    assert suites.get("mad-baseline").counterpart("mamba") == "Mamba"
    assert mad.counterpart("not-installed") is None


def test_what_derives_from_an_architecture_inherits_none_of_its_facts() -> None:
    class Derived(registry.architectures.get("attention")):
        marker = "v"

    assert (Derived.family, Derived.marker, Derived.source) == ("", "v", None)
    assert (Derived.grids, Derived.suites, Derived.counterparts) == ({}, {}, {})
    assert registry.architectures.get("sliding-window").counterparts == {}


def test_a_plugin_may_set_a_family_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.architectures, "_registered", {})
    base = registry.architectures.get("short-conv").__mro__[1]

    @register_architecture("mine")
    class Mine(base):
        family = "delta_rule"

    assert Mine.family == "delta_rule"
    with pytest.raises(UserError, match=r"unknown family 'delta-rule'. Did you mean 'delta_rule'"):
        type("Wrong", (base,), {"family": "delta-rule", "__module__": "plugin"})
