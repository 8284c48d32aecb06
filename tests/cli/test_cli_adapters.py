"""Layers that people own already, from a plugin file to a point of the figure."""

from pathlib import Path

from command_line import SMOKE, Command

from recall_bench.store.runs import ResultStore

PLUGIN = Path(__file__).parents[1] / "foreign_plugin.py"
NAMES = ("fla-like", "mamba-like", "gru", "unmeasured-gru")
SHORT_CONV = 2 * 16 * 4


def test_wrapped_layers_are_checked_trained_measured_and_drawn(
    recall_bench: Command, tmp_path: Path
) -> None:
    swept = recall_bench("sweep", "--plugin", PLUGIN, "--arch", ",".join(NAMES), *SMOKE)
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
