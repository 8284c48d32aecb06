"""Standard output and error that take every character, and that may be full or closed."""

import io
import os
import sys


def accept_every_character() -> None:
    r"""Write characters that the encoding of the terminal lacks as ``\\xNN`` or ``\\uNNNN``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Write what is still buffered; raises `OSError` where the output is full."""
    if sys.stdout:
        sys.stdout.flush()


def discard() -> None:
    """Write the rest of the output nowhere: Python would complain again as it exits."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and stream in (sys.__stdout__, sys.__stderr__):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def discard_if_broken() -> None:
    """`discard` where the output can no longer be flushed."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except OSError:
        discard()
