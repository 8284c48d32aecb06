"""Files that are written completely or not at all."""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from recall_bench.errors import UserError


class StoreError(UserError):
    """A file cannot be written whichever run it belongs to, so no further run should start."""


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically and durably. Raises `StoreError` and then leaves nothing behind."""
    write_with(path, lambda stream: stream.write(content))


def write_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write_file` for content that ``write`` puts into a stream, a part at a time."""
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    with explained(path):
        try:
            with open(partial, "xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` from writing ``path`` into a `StoreError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = "the disk is full or the quota is used up. Free some space"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem = "it is read-only. Expected a directory that you may write"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            problem = f"{error.filename or path} is a file. Expected a directory"
        else:
            problem = f"{error.strerror or error}. Repair that"
        raise StoreError(
            f"Cannot write {path}: {problem}, or choose another place. "
            f"What is finished is kept, and the same command continues from there."
        ) from error
