"""Exceptions that the command line reports in one message."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user: the command line prints only the message and exits with code 2.

    The message says what was wrong, what was expected, and the nearest valid value. The class does
    not derive from `ValueError`, which pydantic would wrap into its own error.
    """


class DeviceLost(RuntimeError):
    """The CUDA context is lost; only a new process can continue."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for an unknown name: "Did you mean 'based'? Available: …"."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Available: {', '.join(names) if names else 'none'}."
