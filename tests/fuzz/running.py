"""Runs a case in this process or in one of its own, and says what is wrong with the outcome."""

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest import mock

from fuzz import command_lines, data_files, plugins, stores
from fuzz.case import Case, Maker
from recall_bench import registry
from recall_bench.cli import main
from recall_bench.errors import UserError

KINDS: dict[str, Maker] = {
    "command-line": command_lines.make,
    "store": stores.make_store,
    "export": stores.make_export,
    "plugin": plugins.make,
    "data": data_files.make,
}
SECONDS = 60
"""After which a case counts as hanging."""
PLANNED = "Planned; the fuzz does not train."
OUTPUTS = {"out.png", "out.svg", "out.jsonl", "out.parquet", "x", "x.png", "timed", "runs"}
"""What commands may write in their directory."""


class Wrong(AssertionError):
    """The outcome of a case is wrong."""


class Hangs(BaseException):
    """A case takes too long."""


def run(kind: str, number: int, directory: Path, process: bool = False) -> Case:
    """Make a case in ``directory`` and run it; raises `Wrong`."""
    draw = Random(f"{kind} {number}")
    place, bystander = directory / "case", directory / "bystander"
    for folder in (place, bystander):
        folder.mkdir(parents=True)
    for name in ("record.json", "weights.pt", "notes.txt"):
        (bystander / name).write_text(f"{name} of somebody else")
    case = KINDS[kind](draw, place)
    inputs, outside = digest(place, OUTPUTS), digest(bystander, set())
    code, out, err = (
        in_a_process(draw, case, place) if process else in_this_process(draw, case, place)
    )
    try:
        judge(case, code, out, err)
        if digest(bystander, set()) != outside or {p.name for p in directory.iterdir()} != {
            "case",
            "bystander",
        }:
            raise Wrong("something outside the directory changed")
        if digest(place, OUTPUTS) != inputs:
            raise Wrong("something beside the store and the outputs changed")
    except Wrong as wrong:
        raise Wrong(
            f"{wrong}\nwords: {case.words}\ncode: {code}\nout: {out[-500:]}\nerr: {err[-3000:]}"
        ) from None
    return case


def judge(case: Case, code: int, out: str, err: str) -> None:
    if "Traceback" in err + out:
        raise Wrong("a traceback")
    if code not in (0, 2):
        raise Wrong(f"exit code {code}")
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    planned = errors == [f"Error: {PLANNED}"]
    if len(errors) != (code == 2) or (code == 2 and not err.rstrip("\n").endswith(errors[0])):
        raise Wrong("not exactly one message, as the last line")
    if case.works and code and not planned:
        raise Wrong("refused what must work")
    if case.refused and (not code or planned):
        raise Wrong("accepted what must be refused")


def in_this_process(draw: Random, case: Case, place: Path) -> tuple[int, str, str]:
    encoding = draw.choice(["utf-8", "utf-8", "ascii", "latin-1"])
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding, errors)
        for errors in ("strict", "backslashreplace")
    )
    with (
        isolated(place),
        mock.patch("recall_bench.sweeps.carry_out.run_sweep", side_effect=UserError(PLANNED)),
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        alarm(),
    ):
        try:
            main(case.words)
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            code = 1
            traceback.print_exc()
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding, "replace"))  # type: ignore[attr-defined]
    return int(code) if isinstance(code, int) else 1, *texts  # type: ignore[return-value]


def in_a_process(draw: Random, case: Case, place: Path) -> tuple[int, str, str]:
    full = draw.random() < 0.2
    # Workers start and refuse the device: training itself has its own tests.
    words = [*case.words, *(["--device", "nowhere"] if case.trains else [])]
    arguments = [os.fsdecode(word.replace("\0", "").encode(errors="replace")) for word in words]
    encoding = draw.choice(["utf-8", "ascii", "latin-1"])
    with open("/dev/full", "w") if full else contextlib.nullcontext() as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "recall_bench", *arguments],
            cwd=place,
            env={
                **os.environ,
                "PYTHONIOENCODING": encoding,
                "COLUMNS": "80",
                "OMP_NUM_THREADS": "1",
            },
            stdout=nowhere or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=5 * SECONDS,
        )
    code = done.returncode
    if full and code == 2 and case.works:
        return 0, "", ""  # nothing can be printed there
    return (
        code,
        (done.stdout or b"").decode(encoding, "replace"),
        done.stderr.decode(encoding, "replace"),
    )


@contextlib.contextmanager
def isolated(place: Path) -> Iterator[None]:
    """Run in ``place``, and forget the plugins afterwards."""
    modules, here = set(sys.modules), Path.cwd()
    kinds = (registry.architectures, registry.tasks)
    known = [dict(kind._registered) for kind in kinds]
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(here)
        for kind, before in zip(kinds, known, strict=True):
            kind._registered = {
                k: c
                for k, c in kind._registered.items()
                if k in before or c.__module__.startswith("recall_bench.")
            }
        for name in set(sys.modules) - modules:
            if name.startswith("recall_bench_plugin_"):
                del sys.modules[name]


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise Hangs(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def digest(folder: Path, without: set[str]) -> str:
    """A digest of names and contents below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.relative_to(folder).parts[0] not in without and "__pycache__" not in path.parts:
            total.update(os.fsencode(path) + b"\0")
            if path.is_file() and not path.is_symlink():
                total.update(path.read_bytes())
    return total.hexdigest()
