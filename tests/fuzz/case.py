"""One case of the fuzz: files in a directory, a command line, and what may come of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """A command to run in its directory.

    ``works`` says that the command must succeed; otherwise it may also refuse with code 2.
    """

    words: list[str]
    works: bool = False
    refused: bool = False
    """Whether the command must refuse."""
    alone: bool = False
    """Whether the case needs a process of its own, since it trains or ends the process."""
    environment: dict[str, str] = field(default_factory=dict)


Maker = Callable[[Random, Path], Case]
"""Writes the files of a case into a directory, and returns the case."""
