"""Exclusive claims on runs, with a heartbeat, for many processes and machines; without locks.

A claim is a file ``claim.<n>.json`` in the run's directory, created with O_EXCL; the highest n is
the current one. It is live while its modification time is fresh, and dead as soon as its process is
known to be gone. A dead claim is taken over by creating ``claim.<n+1>.json``: one process wins.
Releasing a claim sets its modification time to zero, which needs no disk space.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT = 60.0
"""Seconds without a heartbeat after which a claim is dead."""

HEARTBEAT = 10.0
"""Seconds between two heartbeats."""

LARGEST_PID = 2**31 - 1

_NAME = re.compile(r"claim\.([0-9]{1,18})\.json")


class Claim:
    """The right to work on one run until `release`, kept alive by a thread; a context manager."""

    def __init__(self, path: Path, number: int, heartbeat: float = HEARTBEAT):
        self.path = path
        self.number = number
        self.lost = False
        """True once another process has taken over, for example after this one was suspended."""
        self._heartbeat = heartbeat
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=path.name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._ended.wait(self._heartbeat):
            with contextlib.suppress(OSError):
                if not self.current():
                    self._expire()
                    return
                os.utime(self.path)

    def current(self) -> bool:
        """Whether this process still holds the run, read from the disk."""
        self.lost = self.lost or max(numbers(self.path.parent), default=-1) != self.number
        return not self.lost

    def _expire(self) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.path, (0, 0))

    def release(self) -> None:
        """Give up the run; if it has no record yet, any process may continue it immediately."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._expire()

    def withdraw(self) -> None:
        """Release the claim and delete its file."""
        self.release()
        self.path.unlink(missing_ok=True)


def take(directory: Path, timeout: float = TIMEOUT, heartbeat: float = HEARTBEAT) -> Claim | None:
    """Claim the run in ``directory``; None if another process holds it. Raises `OSError`."""
    newest = max(numbers(directory), default=0)
    if newest and _live(_path(directory, newest), timeout):
        return None
    number = newest + 1
    path = _path(directory, number)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    try:
        os.write(file, json.dumps(_holder()).encode())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    # A finished run removes its claims, so that two processes may take different numbers.
    others = [_path(directory, other) for other in numbers(directory) if other != number]
    if any(_live(other, timeout) for other in others):
        path.unlink(missing_ok=True)
        return None
    return Claim(path, number, heartbeat)


def held(directory: Path, timeout: float = TIMEOUT) -> bool:
    """Whether a process is working on the run in ``directory``."""
    newest = max(numbers(directory), default=0)
    return bool(newest) and _live(_path(directory, newest), timeout)


def holder(directory: Path) -> str:
    """Who holds the run in ``directory`` and since when, as far as the claim says."""
    newest = max(numbers(directory), default=0)
    try:
        holder = json.loads(_path(directory, newest).read_bytes())
        host, pid, started = holder["host"].partition(" ")[0], holder["pid"], holder["started"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return "another process"
    return ascii(f"process {pid} on {host} since {started}")[1:-1][:200]


def numbers(directory: Path) -> list[int]:
    """The numbers of all claims in ``directory``; none if it does not exist."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [int(match[1]) for name in names if (match := _NAME.fullmatch(name))]


def remove(directory: Path) -> None:
    """Remove every claim in ``directory``: its run is finished."""
    for number in numbers(directory):
        _path(directory, number).unlink(missing_ok=True)


def _path(directory: Path, number: int) -> Path:
    return directory / f"claim.{number}.json"


def _holder() -> dict[str, str | int | None]:
    pid = os.getpid()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": _host(), "pid": pid, "process": _process(pid), "started": started}


def _live(path: Path, timeout: float) -> bool:
    try:
        with open(path, "rb") as file:  # opening makes network file systems fetch current times
            beat = os.fstat(file.fileno()).st_mtime
            holder = json.loads(file.read() or b"{}")
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError):
        holder = {}
    if _is_gone(holder):
        return False
    return _now(path.parent) - beat < timeout


def _is_gone(holder: Any) -> bool:
    """Whether a claim names a process of this machine that has ended."""
    if not isinstance(holder, dict) or holder.get("host") != _host():
        return False
    pid = holder.get("pid")
    return type(pid) is int and 0 < pid <= LARGEST_PID and holder.get("process") != _process(pid)


def _now(directory: Path) -> float:
    """The file system's clock, since the machines that share it may disagree on the time."""
    with tempfile.TemporaryFile(dir=directory) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _host() -> str:
    """This machine, boot and container, within which a process id is unambiguous."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _process(pid: int) -> str | None:
    """When process ``pid`` started, which distinguishes reused ids; None if it is gone."""
    if os.path.exists("/proc/self/stat"):
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in "ZX" else fields[18]
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True
    )
    state, _, started = listed.stdout.strip().partition(" ")
    return None if listed.returncode or state.startswith("Z") else started.strip()
