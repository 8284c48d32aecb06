"""Generated data on disk: runs and later commands with the same task and seed share them.

An entry is one file of tensors, named after a hash of everything that they depend on: the task's
name, version and options, the split, the seed, the sources that generate it, and PyTorch's version.
It holds a hash of its content, which is checked at every read; an entry that fails is made again.
Processes that need the same entry at the same time wait for the first one to make it.

The entries lie in ``generated`` in the directory of `recall_bench.documents.cache`. Whoever writes
one removes the longest unused until they take less than the limit. Tasks that read files are not
cached: their examples are a list already.
"""

import contextlib
import hashlib
import inspect
import json
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recall_bench.documents.cache import cache_directory, short_digest
from recall_bench.errors import UserError
from recall_bench.store.files import StoreError, explained, write_with
from recall_bench.tasks import Split, Task, tools
from recall_bench.tasks import base as generator

VARIABLE = "RECALL_BENCH_DATA_GIB"
"""The environment variable with the limit in GiB; 0 turns the cache off."""

LIMIT_GIB = 4.0

FORMAT = 1
"""Version of what an entry holds."""


class Entry(NamedTuple):
    """The tensors of a split by name, for each segment; numbers may stand for constant slices."""

    parts: list[dict[str, Tensor | int]]
    data_hash: str


def cached(task: Task, split: Split, seed: int, make: Callable[[], Entry]) -> Entry:
    """The entry of a split, from the disk or made and written there.

    Its tensors are memory-mapped, on the CPU; a write to them does not reach the file.
    """
    limit = limit_bytes()
    key = _key(task, split, seed) if limit else None
    if key is None:
        return make()
    folder = cache_directory() / "generated"
    file = folder / f"{short_digest(key)}.pt"
    if (entry := _read(file, key)) is not None:
        return entry
    try:
        with _only_one(file):
            # Another process may have made it during the wait.
            if (entry := _read(file, key)) is None:
                entry = make()
                _write(file, key, entry)
                _remove_unused(folder, limit)
    except StoreError as error:
        warnings.warn(f"Generated data are not cached. {error}", stacklevel=2)
        return entry or make()
    return entry


def limit_bytes() -> int:
    """The most bytes that all entries may take; raises `UserError` for what is no number."""
    value = os.environ.get(VARIABLE, str(LIMIT_GIB))
    try:
        return max(0, int(float(value) * 2**30))
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{VARIABLE} is {value!r}. Expected a number of GiB, 0 for none."
        ) from error


def _key(task: Task, split: Split, seed: int) -> str | None:
    """Everything that the data of a split depend on; None where that is not known."""
    if type(task).block is not Task.block:
        return None
    sources = _sources(type(task))
    if sources is None:
        return None
    content = [FORMAT, task.name, task.version, task.model_dump(mode="json"), split, seed]
    return json.dumps([*content, sources, torch.__version__])


@cache
def _sources(kind: type[Task]) -> str | None:
    """A hash of the files that generate a task's examples."""
    files = [Path(generator.__file__), *sorted(Path(tools.__path__[0]).glob("*.py"))]
    for cls in kind.__mro__[: kind.__mro__.index(Task)]:
        try:
            files.append(Path(inspect.getfile(cls)))
        except (TypeError, OSError):  # defined in a terminal or a notebook
            return None
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            return None
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(file: Path, key: str) -> Entry | None:
    """The entry in a file and a note that it was used now; None where it is missing or damaged."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        entry = Entry(content["parts"], content["data_hash"])
        if content["key"] != key or content["digest"] != _digest(entry):
            return None
        with contextlib.suppress(OSError):  # a cache that others own is read all the same
            os.utime(file)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError):
        return None  # it is made again, and replaced
    return entry


def _write(file: Path, key: str, entry: Entry) -> None:
    content: dict[str, Any] = {"key": key, "digest": _digest(entry), **entry._asdict()}
    write_with(file, lambda partial: torch.save(content, partial))


def _digest(entry: Entry) -> str:
    """SHA-256 of every name, number and tensor of an entry."""
    digest = hashlib.sha256(entry.data_hash.encode())
    for part in entry.parts:
        for name, value in part.items():
            if isinstance(value, Tensor):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.contiguous().numpy().data)
            else:
                digest.update(f"{name} {value}".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Hold the lock of an entry, which a process that dies releases."""
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = open(file.with_suffix(".lock"), "ab")  # noqa: SIM115
    with lock:
        # Without locks, several processes make the same entry, and one of them stays.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unused(folder: Path, limit: int) -> None:
    """Remove the longest unused entries until the others take no more than ``limit`` bytes."""
    known: list[tuple[float, int, Path]] = []
    for file in folder.glob("*.pt"):
        with contextlib.suppress(FileNotFoundError):
            known.append((file.stat().st_mtime, file.stat().st_size, file))
    total = sum(size for _, size, _ in known)
    for _, size, file in sorted(known):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            file.unlink()
            total -= size
