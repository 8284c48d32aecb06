"""What run ids are made of, and that they stay what they were."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from recall_bench import config as configs
from recall_bench import registry
from recall_bench.architectures.softmax.attention import Attention
from recall_bench.config import WITH_DEFAULTS, RunConfig, _later, merged, run_name
from recall_bench.plugins.source import _of_file
from recall_bench.store.export import load

RESULTS = Path(__file__).parents[1] / "results"
QUICK, TASKS = RESULTS / "quick/records.jsonl", RESULTS / "tasks/records.jsonl"


def run(layers: str = "self", **changes: object) -> RunConfig:
    return RunConfig(
        task={"name": "copying"},
        architecture={"name": "attention", "layers": layers},
        **changes,
    )


@pytest.mark.parametrize("file", [QUICK, TASKS], ids=["quick", "tasks"])
def test_committed_runs_are_found_under_the_names_that_they_have(file):
    records = map(json.loads, load(file)[0]["record"])
    distinct = {  # of each architecture, task and backbone one run is enough
        json.dumps([record["config"][part] for part in ("architecture", "task", "model")]): record
        for record in records
    }
    assert len(distinct) > 20
    for record in distinct.values():
        config = RunConfig.model_validate(record["config"])
        assert config.run_id == record["run_id"]
        assert config.model_dump(mode="json") == record["config"]


@pytest.fixture
def later_knob(monkeypatch):
    """Attention with a knob that the package did not have at first."""

    class Grown(Attention):
        sinks: int = Field(2, ge=0)

    Grown.__module__ = Attention.__module__
    Grown.name, Grown.version = "attention", Attention.version
    monkeypatch.setitem(registry.architectures._registered, "attention", Grown)
    _later.cache_clear()
    return Grown


def test_a_new_knob_at_its_default_renames_no_run(later_knob, request):
    before = run_name(
        {**run().model_dump(mode="json"), "architecture": {"name": "attention", **PLAIN}},
        {"task": 1, "architecture": 1},
    )
    default, other = run(), run().model_copy(update={"architecture": later_knob(sinks=3)})
    assert type(default.architecture) is later_knob
    assert default.run_id == before
    assert default.left_out()["architecture"] == {"sinks": 2}
    assert "sinks" in default.model_dump(mode="json", context=WITH_DEFAULTS)["architecture"]
    assert other.run_id != before
    assert "architecture" not in other.left_out()


PLAIN = {"d_model": 64, "layers": "self", "num_heads": 1, "rotary": False}


def test_what_the_json_leaves_out_completes_it():
    config = {"task": {"name": "x"}, "seed": 0}
    assert merged(config, {"task": {"new": 1}, "model": {"norm": "a"}}) == {
        "task": {"name": "x", "new": 1},
        "seed": 0,
        "model": {"norm": "a"},
    }
    assert merged(config, {"task": {"name": "other"}, "seed": 5}) == config


def test_a_newer_version_of_a_layer_or_of_the_trainer_renames_runs(monkeypatch):
    plain, hybrid = run(), run("short-conv+self")
    names = plain.run_id, hybrid.run_id
    monkeypatch.setattr(registry.architectures.get("short-conv"), "version", 2)
    assert plain.run_id == names[0]
    assert hybrid.run_id != names[1]
    assert hybrid.versions == {"task": 1, "architecture": 1, "layer short-conv": 2}
    monkeypatch.setitem(configs.TRAINER_VERSIONS, "schedule", 2)
    assert plain.run_id != names[0]
    assert plain.versions == {"task": 1, "architecture": 1, "trainer schedule": 2}


def test_only_plugins_have_a_digest_also_as_a_layer_among_built_in_ones():
    from sweep_training import PLUGIN, toy_run

    assert run().plugin_digest is None
    digest = toy_run().plugin_digest
    assert digest == _of_file(PLUGIN)
    assert run("toy-mixer+self").plugin_digest == digest


def test_the_digest_covers_the_modules_that_a_plugin_imports_from_its_folder(tmp_path):
    files = {
        "plugin.py": "import torch\nfrom maths import add\ndef mixer():\n    import lazy.layer\n",
        "maths.py": "import unused_elsewhere",
        "lazy/__init__.py": "",
        "lazy/layer.py": "from . import parts",
        "lazy/parts.py": "",
        "other.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    first = _of_file(tmp_path / "plugin.py")
    for name in files:
        (tmp_path / name).write_text(files[name] + "\n# edited")
        edited = _of_file(tmp_path / "plugin.py")
        assert (edited == first) == (name == "other.py"), name
        (tmp_path / name).write_text(files[name])
    assert _of_file(tmp_path / "plugin.py") == first


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2**63},
        {"training": {"learning_rate": 1e39}},
        {"training": {"epochs": 10**20}},
        {"training": {"batch_size": 10**20}},
        {"model": {"embedding_dropout": 0.999999}},
        {"model": {"mlp_ratio": 1e300}},
    ],
    ids=str,
)
def test_numbers_that_no_run_can_use_are_refused(changes):
    with pytest.raises(ValueError, match=r"less than or equal|expected at most"):
        run(**changes)
