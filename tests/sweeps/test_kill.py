"""Sweeps that are killed, at any moment and in any way, lose nothing that is finished."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_training import toy_run

from recall_bench.store.runs import ResultStore

PROCESS = Path(__file__).parents[1] / "sweep_process.py"
TOY_RUNS, TOY_TRAIN = "sweep_training:toy_runs", "sweep_training:train"
REAL_RUNS, REAL_TRAIN = "real_training:runs", "real_training:train"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def start(store: ResultStore, runs: str, train: str, processes: int = 2) -> subprocess.Popen:
    """A sweep that leads a process group of its own."""
    path = os.pathsep.join([str(PROCESS.parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, PROCESS, store.path, runs, train, str(processes)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def members(group: int) -> list[int]:
    """The processes of a group that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def records(store: ResultStore) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in store.path.glob("*/record.json")}


def scores(store: ResultStore) -> dict[str, tuple]:
    return {
        record.run_id: (record.status, record.validation_accuracy, record.test_accuracy)
        for record in store.records()
    }


def saved(store: ResultStore) -> dict[Path, int]:
    """When each checkpoint and each record was written."""
    found = {}
    for path in [*store.path.glob("*/checkpoint.pt"), *store.path.glob("*/record.json")]:
        with contextlib.suppress(FileNotFoundError):  # a checkpoint whose run has just ended
            found[path] = path.stat().st_mtime_ns
    return found


def start_working(store: ResultStore, runs: str, train: str, training: bool) -> subprocess.Popen:
    """A sweep that has a worker (with `training`: that has saved something), or is at its end."""
    before = saved(store)
    process = start(store, runs, train)
    wait_until(
        lambda: (
            process.poll() is not None
            or (saved(store) != before if training else len(members(process.pid)) > 1)
        )
    )
    return process


def undisturbed_seconds(store: ResultStore, runs: str, train: str) -> float:
    """How long a sweep trains."""
    process = start_working(store, runs, train, training=True)
    began = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - began


def killed_again_and_again(
    store: ResultStore, runs: str, train: str, kills: int, longest: float
) -> int:
    """Start the sweep over and over and kill it while its workers start or train, in turn, it
    alone or all of them; how often it was cut off."""
    chance = random.Random(0)
    cut_off = 0
    for attempt in range(kills):
        before = records(store)
        process = start_working(store, runs, train, training=bool(attempt & 2))
        time.sleep(chance.uniform(0.0, longest))
        with contextlib.suppress(ProcessLookupError):  # it has come to its end before
            (os.kill if attempt & 1 else os.killpg)(process.pid, signal.SIGKILL)
        cut_off += process.wait() == -signal.SIGKILL
        wait_until(lambda process=process: not members(process.pid), 10)
        after = records(store)
        assert {run: after.get(run) for run in before} == before
    assert start(store, runs, train).wait() == 0
    return cut_off


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "train"), [(TOY_RUNS, TOY_TRAIN), (REAL_RUNS, REAL_TRAIN)], ids=["toy", "real"]
)
def test_a_sweep_killed_again_and_again_ends_with_the_records_of_an_undisturbed_one(
    tmp_path, runs, train
):
    """Each delay is at most a twentieth of the whole work: on a machine that is several times as
    fast by now as when it was timed, the first ten kills still come before its end."""
    disturbed, undisturbed = ResultStore(tmp_path / "disturbed"), ResultStore(tmp_path / "calm")
    seconds = undisturbed_seconds(undisturbed, runs, train)
    assert killed_again_and_again(disturbed, runs, train, 20, seconds / 20) >= 10
    assert scores(disturbed) == scores(undisturbed)
    assert disturbed.skipped == []
    litter = {path.name for path in disturbed.path.rglob("*") if path.is_file()}
    assert litter - {"attempts.txt"} == {"config.json", "record.json"}


def test_ctrl_c_keeps_the_checkpoint_and_releases_the_claim(tmp_path):
    store = ResultStore(tmp_path / "runs")
    checkpoint = store.directory(toy_run().run_id) / "checkpoint.pt"
    process = start(store, "sweep_training:one_run", "sweep_training:train_slowly", 1)
    wait_until(checkpoint.exists)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert members(process.pid) == []
    assert checkpoint.exists()
    with store.claim(toy_run()):
        assert store.finished() == {}


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_does_not_answer_is_ended_within_two_seconds(tmp_path, sign, code):
    store = ResultStore(tmp_path / "runs")
    process = start(store, "sweep_training:hanging_run", TOY_TRAIN, 1)
    wait_until(lambda: list(store.path.glob("*/attempts.txt")))
    began = time.monotonic()
    os.kill(process.pid, sign)
    assert process.wait(timeout=20) == code
    assert time.monotonic() - began < 2
    assert members(process.pid) == []
