"""Whatever befalls a store, what is finished stays, and the same command continues."""

import errno
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import SMOKE, Command, interrupt, start
from sweep_training import toy_record, toy_run

from recall_bench.store import runs as stores
from recall_bench.store.runs import ResultStore

SWEEP = ("sweep", "--arch", "short-conv", *SMOKE)
FULL_DISK = '''
import errno, os, sys
from pathlib import Path
from typing import Any

from recall_bench.architectures.convolution.short_conv import ShortConv
from recall_bench.registry import register_architecture

HERE = Path(__file__).parent
fsync = os.fsync


def full(descriptor):
    """The disk takes one record, until there is space."""
    if not (HERE / "space").exists() and list(HERE.glob("runs/*/record.json")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync(descriptor)


@register_architecture("on-a-full-disk")
class OnAFullDisk(ShortConv):
    """A short convolution."""


if "pytest" not in sys.modules:  # in the worker, where runs are stored
    os.fsync = full
'''


def records(directory: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in directory.glob("runs/*/record.json")}


def test_a_store_that_is_a_file_is_refused(recall_bench: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("precious")
    recall_bench(*SWEEP).refused("runs is a file", "expected a directory")
    recall_bench("report").refused("runs: unknown suffix", ".jsonl, .parquet")
    assert (tmp_path / "runs").read_text() == "precious"


def test_a_read_only_store_is_refused_before_anything_runs(
    recall_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = stores.tempfile.TemporaryFile

    def refuse(**where: Any) -> Any:
        if "dir" not in where:
            return elsewhere()
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", refuse)
    recall_bench(*SWEEP).refused("Cannot write runs: it is read-only", "choose another place")


@pytest.mark.slow
def test_records_that_cannot_be_read_are_named_and_the_others_used(
    recall_bench: Command, tmp_path: Path
) -> None:
    recall_bench(*SWEEP, "--seeds", 3).succeeded("3 runs done.")
    whole = records(tmp_path)
    kept, cut, newer = (tmp_path / "runs" / name for name in whole)
    (cut / "record.json").write_bytes(whole[cut.name][:200])
    changed = json.loads(whole[newer.name]) | {"schema_version": 99}
    (newer / "record.json").write_text(json.dumps(changed))
    (tmp_path / "runs" / "foreign").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    before = records(tmp_path)

    for words in (("report",), ("export", "--output", "a.jsonl"), ("plot", "--output", "a.svg")):
        outcome = recall_bench(*words)
        assert outcome.code == 0
        unreadable = [f"{cut.name}/record.json", f"{newer.name}/record.json"]
        assert {line.partition(":")[0] for line in outcome.err.splitlines()} == {
            f"Skipped runs/{name}" for name in ("foreign", "notes.txt", *unreadable)
        }
        assert "written by a newer recall-bench: its schema is 99" in outcome.err
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1
    assert records(tmp_path) == before, "readers change nothing"

    again = recall_bench(*SWEEP, "--seeds", 3)
    assert again.code == 0
    assert "3 runs done, 1 of them before." in again.out
    assert records(tmp_path)[kept.name] == whole[kept.name]
    assert (cut / "aside.1.json").read_bytes() == whole[cut.name][:200]
    assert (tmp_path / "runs" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_full_disk_stops_the_sweep_and_the_next_call_continues(
    recall_bench: Command, tmp_path: Path
) -> None:
    (tmp_path / "plugin.py").write_text(FULL_DISK)
    words = ("sweep", "--plugin", "plugin.py", "--arch", "on-a-full-disk", *SMOKE, "--seeds", 3)
    outcome = recall_bench(*words)
    outcome.refused("the disk is full or the quota is used up. Free some space", "continues")
    before = records(tmp_path)
    assert len(before) == 1
    (tmp_path / "space").touch()
    recall_bench(*words).succeeded("3 runs done, 1 of them before.")
    assert before.items() <= records(tmp_path).items()


@pytest.mark.parametrize(
    "words", [("plot", "--output", "a.svg"), ("export", "--output", "a.jsonl")]
)
def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing_behind(
    recall_bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple
) -> None:
    ResultStore(tmp_path / "runs").write(toy_record(toy_run()))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    recall_bench(*words).refused(f"Cannot write {words[-1]}: the disk is full")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_continues(tmp_path: Path) -> None:
    words = (*SWEEP, "--seeds", 12)
    process = start(tmp_path, *words)
    deadline = time.monotonic() + 120
    while not records(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    interrupt(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1
    assert "The same command continues from there." in err
    before = records(tmp_path)
    assert 1 <= len(before) < 12
    assert ResultStore(tmp_path / "runs").records(), "what is finished can be read"

    process = start(tmp_path, *words)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert re.search(rf"12 runs done, {len(before)} of them before", out)
    assert before.items() <= records(tmp_path).items()
