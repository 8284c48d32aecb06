"""Layers that people own already, from a plugin file to a point of the figure."""

import importlib.util
from pathlib import Path

import pytest
from command_line import SMOKE, Command

from recall_bench.store.runs import ResultStore

PLUGIN = Path(__file__).parents[1] / "foreign_plugin.py"
ROOT = Path(__file__).parents[2]
FOREIGN = {"fla_gla": "fla", "mamba_ssm_mamba": "mamba_ssm"}
NAMES = ("fla-like", "mamba-like", "gru", "unmeasured-gru")
SHORT_CONV = 2 * 16 * 4


def test_wrapped_layers_are_checked_trained_measured_and_drawn(
    recall_bench: Command, tmp_path: Path
) -> None:
    data = ("--train", "16:2:64", "--validation", "16:2:16", "--test", "16:2:16")
    words = ("sweep", "--plugin", PLUGIN, "--arch", ",".join(NAMES), *SMOKE, *data)
    swept = recall_bench(*words)
    swept.succeeded(*NAMES)
    records = {
        record.config["architecture"]["name"]: record
        for record in ResultStore(tmp_path / "runs").records()
    }
    assert {name: record.verified for name, record in records.items()} == {
        "fla-like": "16/17 float64 cpu",
        "mamba-like": "16/17 float64 cpu",
        "gru": "8/17 float64 cpu",
        "unmeasured-gru": "8/17 float64 cpu",
    }
    memories = {name: record.memory for name, record in records.items()}
    assert all(memory is not None for memory in memories.values())
    sizes = {name: memory.state_bytes for name, memory in memories.items() if memory}
    assert sizes == {
        "fla-like": SHORT_CONV + 4 * (2 * 8 * 8 + 3 * 16 * 4),
        "mamba-like": SHORT_CONV + 4 * (16 * 4 + 16 * 4),
        "gru": SHORT_CONV + 4 * 16,
        "unmeasured-gru": None,
    }
    recall_bench("plot", "--output", "mine.svg").succeeded()
    drawn = (tmp_path / "mine.svg").read_text()
    for name in NAMES[:3]:
        assert name in drawn
    recall_bench("report").succeeded(*NAMES)


@pytest.mark.parametrize("example", FOREIGN)
def test_an_example_loads_without_its_package_and_names_it_when_it_is_used(
    recall_bench: Command, example: str
) -> None:
    if importlib.util.find_spec(FOREIGN[example]):
        pytest.skip(f"{FOREIGN[example]} is installed")
    file = ROOT / "examples" / f"{example}.py"
    recall_bench("list", "--plugin", file).succeeded(example.split("_")[0])
    package = {"fla": "flash-linear-attention", "mamba_ssm": "mamba-ssm"}[FOREIGN[example]]
    recall_bench("check", file).refused(f"Expected the package {package}")


def test_the_gru_example_keeps_the_part_of_the_contract_that_it_has(recall_bench: Command) -> None:
    checked = recall_bench("check", ROOT / "examples" / "plain_gru.py")
    checked.succeeded("plain-gru: 8 of 17 properties hold, 9 not offered")


def test_the_layers_of_the_published_results_load_without_their_package(
    recall_bench: Command,
) -> None:
    listed = recall_bench("list", "--plugin", ROOT / "results" / "adapters" / "fla_layers.py")
    listed.succeeded("fla-gla", "fla-deltanet", "fla-gated-deltanet", "fla-rwkv7")
