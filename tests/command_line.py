"""The command line, called in this process or as one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recall_bench import registry
from recall_bench.cli import main


@dataclass(frozen=True)
class Outcome:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    def refused(self, *parts: str) -> None:
        """Exit code 2 and one message on standard error that contains all ``parts``."""
        assert self.code == 2
        assert self.err.startswith("Error: ")
        assert self.err.count("\n") == 1, "one message, without a traceback"
        for part in parts:
            assert part in self.err

    def succeeded(self, *parts: str) -> None:
        """Exit code 0, nothing on standard error, and all ``parts`` in the output."""
        assert (self.code, self.err) == (0, "")
        for part in parts:
            assert part in self.out


Command = Callable[..., Outcome]


@pytest.fixture
def run_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """``run_in(directory, *words)``: recall-bench in this process, 80 columns wide.

    Plugins that a test loads are forgotten afterwards.
    """
    monkeypatch.setenv("COLUMNS", "80")
    modules = set(sys.modules)
    for kind in (registry.architectures, registry.tasks):
        monkeypatch.setattr(kind, "_registered", dict(kind._registered))

    def run(directory: Path, *words: object) -> Outcome:
        monkeypatch.chdir(directory)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return Outcome(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    for name in set(sys.modules) - modules:
        if name.startswith("recall_bench_plugin_"):
            del sys.modules[name]


@pytest.fixture
def recall_bench(run_in: Command, tmp_path: Path) -> Command:
    """`run_in` the test's own directory."""
    return lambda *words: run_in(tmp_path, *words)


def start(directory: Path, *words: object) -> subprocess.Popen[str]:
    """recall-bench as a process that leads a group of its own and takes Ctrl-C."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from recall_bench.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=directory,
        env=os.environ | {"COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Press Ctrl-C in the terminal of a process that `start` gave."""
    os.killpg(process.pid, signal.SIGINT)


SMOKE = ("--preset", "smoke", "--processes", 1, "--epochs", 1, "--learning-rates", "0.01")
"""Words that make the runs of a sweep take less than a second each."""
