"""What a user did wrong, said in one message."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: the command line prints the message alone and exits with 2.

    The message says what was wrong, what was expected, and the nearest valid value. It is no
    `ValueError`, which pydantic would wrap into an error of its own.
    """


class DeviceLost(RuntimeError):
    """The GPU answers this process no more, whatever it asks for: only a fresh one can go on."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that helps after an unknown name: "Did you mean 'based'? Available: …"."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Available: {', '.join(names) if names else 'none'}."
