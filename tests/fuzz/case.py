"""One case of the fuzz: files in a directory, a command line, and what may come of it."""

from collections.abc import Callable
from dataclasses import dataclass
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

    @property
    def trains(self) -> bool:
        return self.words[:1] in (["train"], ["sweep"])


Maker = Callable[[Random, Path], Case]
"""Writes the files of a case into a directory, and returns the case."""
