"""Architectures are found by file name, one at a time, and answer to both of their names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recall_bench import registry
from recall_bench.architectures import Architecture
from recall_bench.config import RunConfig, build
from recall_bench.errors import UserError
from recall_bench.registry import architecture_modules

ROOT = Path(__file__).parents[1]


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_of_families_are_architectures_and_all_others_are_not(tmp_path: Path) -> None:
    names = ["delta_rule/gated_deltanet.py", "delta_rule/gated_deltanet_layer.py"]
    names += ["delta_rule/_shared.py", "delta_rule/__init__.py", "base.py", "sparse/moba.py"]
    names += ["adapters/fla.py", "pieces/gate.py", "__pycache__/h3.py"]
    assert architecture_modules(files(tmp_path, *names)) == {
        "gated-deltanet": "recall_bench.architectures.delta_rule.gated_deltanet",
        "moba": "recall_bench.architectures.sparse.moba",
    }


def test_two_families_with_one_name_are_refused(tmp_path: Path) -> None:
    clash = files(tmp_path, "sparse/moba.py", "hybrids/moba.py")
    with pytest.raises(UserError, match=r"'moba': (hybrids|sparse).moba and (hybrids|sparse).moba"):
        architecture_modules(clash)


def test_every_built_in_architecture_has_the_name_of_its_file_and_no_two_share_one() -> None:
    for name in registry.architectures.builtin():
        cls = registry.architectures.get(name)
        assert name == (cls.alias or cls.name)
        assert registry.architectures.get(cls.name) is cls


def test_finding_an_architecture_imports_neither_torch_nor_the_others() -> None:
    code = (
        "import sys; from recall_bench import registry; registry.architectures.names();"
        "registry.architectures.get('mamba');"
        "print([n for n in sys.modules if n == 'torch' or n.startswith('recall_bench.arch')"
        " and n.count('.') == 3])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['recall_bench.architectures.state_space.mamba']"


def test_rwkv_and_rwkv5_are_one_architecture_whose_records_say_rwkv() -> None:
    runs = [
        RunConfig(task={"name": "mqar"}, architecture={"name": name, "head_dim": 16})
        for name in ("rwkv", "rwkv5")
    ]
    assert runs[0] == runs[1]
    assert {run.run_id for run in runs} == {"mqar-rwkv-5cb0c2b7ba724f90"}
    assert runs[1].model_dump()["architecture"]["name"] == "rwkv"
    found = [name for name in registry.architectures if name in ("rwkv", "rwkv5")]
    assert found == ["rwkv5"]
    with pytest.raises(UserError, match=r"'rwkv' is taken by .*rwkv5.RWKV5"):
        registry.register_architecture("rwkv")(type("Other", (Architecture,), {}))


def test_a_file_must_register_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "misnamed.py").write_text(
        "class Other:\n    name, alias, version = 'other', '', 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kind = registry.Registry("thing", "recall_bench.things", lambda: {"misnamed": "misnamed"})
    with pytest.raises(UserError, match=r"must register 'misnamed'.*Got 'other'"):
        kind.get("misnamed")


def test_what_records_name_may_be_missing_here() -> None:
    assert registry.architectures.find("not-installed") is None


def test_committed_runs_keep_their_ids() -> None:
    """Configurations of the versions that are current, of every built-in architecture."""
    checked = set()
    for line in (ROOT / "results" / "quick" / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        record = json.loads(record["record"]) if "record" in record else record
        run = RunConfig(**record["config"])
        assert run.versions == record["versions"]
        assert run.run_id == record["run_id"]
        checked.add(build(registry.architectures, record["config"]["architecture"]).name)
    assert checked == {"based", "attention", "sliding-window", "mamba", "h3", "rwkv"}
