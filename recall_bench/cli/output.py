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
    for stream, original in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__)):
        if original is not None and stream is original:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, original.fileno())
            os.close(null)


def discard_if_broken() -> None:
    """`discard` where the output can no longer be flushed."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
    except OSError:
        discard()
