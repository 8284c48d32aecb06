"""Data named by content: paths become fingerprints, and fingerprints lead back to paths.

Two people with the same files in different places have the same runs, so a configuration holds
``content:`` and a hash instead of a path. The cache remembers where that content was last seen.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from recall_bench.documents.cache import cache_directory, cached, put, short_digest
from recall_bench.errors import UserError

Files: TypeAlias = dict[str, Path]
"""The files that a loader reads, by names that do not depend on the data's location."""

FINGERPRINT = re.compile(r"content:[0-9a-f]{16}")


def resolve(value: str, find: Callable[[Path], Files]) -> str:
    """The fingerprint of the data at a path; a fingerprint passes through.

    ``find`` lists the files of a path, and raises `ValueError` where they are not what it reads.
    Raises `ValueError` where the path does not exist.
    """
    if FINGERPRINT.fullmatch(value):
        return value
    path = Path(value).expanduser().resolve()
    if not path.exists():
        raise ValueError(f"there is no {path}. Expected a file or directory")
    identity = fingerprint(find(path))
    entry = _entry(identity)
    if not entry.exists() or json.loads(entry.read_text())["path"] != str(path):
        put(entry, json.dumps({"path": str(path)}).encode())
    return identity


def fingerprint(files: Files) -> str:
    """``content:`` and 16 digits of the SHA-256 over names and contents.

    Contents are read again only where a size or a time of change differs from what was seen.
    """
    seen = []
    for name, path in sorted(files.items()):
        status = path.stat()
        seen.append((name, str(path), status.st_size, status.st_mtime_ns))
    return cached("seen", json.dumps(seen), ".txt", lambda: _hash(files).encode()).decode()


def whereabouts(identity: str, find: Callable[[Path], Files]) -> Path:
    """The path of the data with a fingerprint; raises `UserError` if they are gone or changed."""
    entry = _entry(identity)
    path = Path(json.loads(entry.read_text())["path"]) if entry.exists() else None
    try:
        if path and path.exists() and fingerprint(find(path)) == identity:
            return path
    except ValueError:
        pass
    seen = f"; they were last seen at {path}, which is gone or has changed" if path else ""
    raise UserError(
        f"The data {identity} are not known on this machine{seen}. "
        f"Expected --data PATH of the same files; the cache is {cache_directory()}."
    )


def _hash(files: Files) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape"))
        digest.update(content)
    return f"content:{digest.hexdigest()[:16]}"


def _entry(identity: str) -> Path:
    return cache_directory() / "sources" / f"{short_digest(identity)}.json"
