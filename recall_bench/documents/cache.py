"""The cache of prepared data: one directory; an entry's name is a hash of all its inputs.

The directory is ``$RECALL_BENCH_CACHE``, else ``recall-bench`` under the system's usual place for
caches (``$XDG_CACHE_HOME`` or ``~/.cache``). Deleting it costs time only.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from recall_bench.store.files import explained, write_file

VARIABLE = "RECALL_BENCH_CACHE"


def cache_directory() -> Path:
    """The directory of the cache, which need not exist yet."""
    if own := os.environ.get(VARIABLE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recall-bench"


def cached(kind: str, key: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """The content of an entry; if there is none yet, it is made and written.

    ``key`` describes everything that the content depends on. Raises `StoreError` if the cache
    cannot be written.
    """
    path = cache_directory() / kind / f"{short_digest(key)}{suffix}"
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        pass
    content = make()
    put(path, content)
    return content


def put(path: Path, content: bytes) -> None:
    """Write a file of the cache atomically."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)


def short_digest(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
