"""Any encoding of the output, a full or closed one, and signals, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import Command, start

from recall_bench.store.runs import ResultStore

PLUGIN = """
import pathlib, time
pathlib.Path("importing").touch()
time.sleep(60)
"""


def run(directory: Path, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "recall_bench", *words],
        cwd=directory,
        text=True,
        timeout=120,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE, **options},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_is_readable_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = run(tmp_path, "list", env=environment, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mamba: " in done.stdout
    refused = run(tmp_path, "list", "mqär…", env=environment, encoding=encoding)
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: Unknown architecture or task")


def test_a_full_output_is_one_message(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run(tmp_path, "list", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "Error: Cannot write the output: No space left on device.\n"


def test_a_reader_that_goes_away_ends_the_command_silently(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as nobody:
        done = run(tmp_path, "list", stdout=nobody)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_an_import_within_two_seconds(
    tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    (tmp_path / "slow.py").write_text(PLUGIN)
    process = subprocess.Popen(
        [sys.executable, "-m", "recall_bench", "list", "--plugin", "slow.py"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (tmp_path / "importing").exists():
        assert process.poll() is None
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(sign)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == code
    assert time.monotonic() - began < 2


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_a_sweep_and_its_workers_ends_both_and_releases_the_run(
    tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    words = ("sweep", "--arch", "based", "--learning-rates", "0.01", "--processes", 1)
    process = start(tmp_path, *words)
    while not list(tmp_path.glob("runs/*/claim.1.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, sign)
    error = process.communicate(timeout=20)[1]
    assert process.returncode == code
    assert "Traceback" not in error
    (folder,) = (tmp_path / "runs").glob("mqar-*")
    assert not ResultStore(tmp_path / "runs").held(folder.name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--arch", "based", "--suite", ""], "--suite '' is empty"),
        (["bench", "training", "--arch", ""], "--arch '' is empty"),
        (["bench", "training", "--arch", ","], "names nothing"),
        (["report", "--store="], "--store '' is empty"),
        (["check", ""], "An argument is empty"),
        (["list", "a\ud800"], "is not text"),
        (["sweep", "--arch", "based", "--seeds", "9" * 5000], "5000 digits"),
        (["sweep", "--arch", "based", "--seeds", "99999999"], "at most 20,000"),
        (["sweep", "--arch", "based", "--seeds", f"0,{2**63}"], "expected a seed of at most"),
        (["train", "--arch", "based", "--seed", str(2**63)], "expected a seed of at most"),
        (["show", "mqar", "--seed", str(2**70)], "expected a seed of at most"),
        (
            [
                "sweep",
                "--arch",
                "based",
                "--seeds",
                "300",
                "--window",
                ",".join(map(str, range(1, 99))),
            ],
            "in one",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_empty_values_and_huge_numbers_are_refused(
    recall_bench: Command, words: list[str], message: str
) -> None:
    recall_bench(*words).refused(message)
