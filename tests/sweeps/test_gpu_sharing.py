import os
import stat
from pathlib import Path

import pytest

from recall_bench.sweeps import gpu_sharing
from recall_bench.sweeps import local as executors
from recall_bench.sweeps.gpu_sharing import CONTROL, can_share, shared_gpu
from recall_bench.sweeps.local import LocalExecutor


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch) -> Path:
    """A control program that notes how it was called, first on the path; the file of notes."""
    notes, program = tmp_path / "notes", tmp_path / CONTROL
    program.write_text(
        f'#!/bin/sh\necho "$CUDA_MPS_PIPE_DIRECTORY|$*|$(cat)" >> {notes}\nexit ${{FAILS:-0}}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu_sharing, "PROBE", "import os; os.environ['CUDA_MPS_PIPE_DIRECTORY']")
    return notes


def test_a_daemon_lasts_as_long_as_its_block(daemon: Path) -> None:
    assert can_share()
    with shared_gpu() as variables:
        place = variables["CUDA_MPS_PIPE_DIRECTORY"]
        assert Path(place).is_dir()
        assert daemon.read_text() == f"{place}|-d|\n"
    assert daemon.read_text().splitlines()[1] == f"{place}||quit"
    assert not Path(place).exists()


def test_processes_name_the_gpus_as_the_daemon_counts_them(daemon: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with shared_gpu() as variables:
        assert variables["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_a_daemon_of_the_users_is_left_alone(daemon: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/somewhere")
    with shared_gpu() as variables:
        assert variables == {}
    assert not daemon.exists()


def test_where_no_daemon_starts_the_block_goes_on_without(daemon: Path, monkeypatch) -> None:
    monkeypatch.setenv("FAILS", "1")
    with shared_gpu() as variables:
        assert variables == {}
    assert len(daemon.read_text().splitlines()) == 1


def test_a_daemon_that_lets_nobody_through_is_ended_at_once(daemon: Path, monkeypatch) -> None:
    monkeypatch.setattr(gpu_sharing, "PROBE", "raise SystemExit(805)")
    with shared_gpu() as variables:
        assert variables == {}
        assert [line.split("|")[1:] for line in daemon.read_text().splitlines()] == [
            ["-d", ""],
            ["", "quit"],
        ]


def test_gpus_are_shared_where_they_can_be(daemon: Path, monkeypatch) -> None:
    monkeypatch.setattr(executors, "count_gpus", lambda device: 2)
    assert LocalExecutor().processes == 2 * gpu_sharing.RUNS_PER_GPU
    assert LocalExecutor(processes=2)._sharing is None
    monkeypatch.setattr(executors, "can_share", lambda: False)
    assert LocalExecutor().processes == 2
