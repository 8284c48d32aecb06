"""Properties, and the report of which of them hold."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from rich import box
from rich.table import Table
from rich.text import Text

Subject = TypeVar("Subject")
TORCH = Path(torch.__file__).parent


class Failure(Exception):
    """A property does not hold; the message says where and by how much."""


@dataclass(frozen=True)
class Property(Generic[Subject]):
    """Something every subject must satisfy.

    ``check`` returns a remark on what it saw and raises `Failure` where the property does not hold.
    """

    name: str
    cause: str
    """What usually causes a failure."""
    check: Callable[[Subject], str]

    def result(self, subject: Subject) -> "Result":
        """Run the check; whatever the subject raises is a failure too."""
        try:
            return Result(self.name, True, self.check(subject))
        except Failure as failure:
            found = str(failure)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            at = next((f for f in reversed(frames) if TORCH not in Path(f.filename).parents), None)
            where = f" ({at.filename}, line {at.lineno})" if at else ""
            return Result(self.name, False, f"raised {type(error).__name__}: {error}{where}")
        return Result(self.name, False, f"{found}. Usual cause: {self.cause}.")


@dataclass(frozen=True)
class Result:
    """One property of one subject."""

    property: str
    passed: bool
    message: str


@dataclass(frozen=True)
class Report:
    """Which properties of a subject hold; rich prints it as a table."""

    subject: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not result.passed)

    def raise_if_failed(self) -> None:
        """Raises `AssertionError`, listing the properties that do not hold."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [
            f"{self.subject}: {len(self.results) - len(self.failures)} of {len(self.results)} "
            f"properties hold"
        ]
        lines += [f"  FAILED {result.property}: {result.message}" for result in self.failures]
        return "\n".join(lines)

    def __rich__(self) -> Table:
        table = Table(title=str(self).splitlines()[0], title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("result")
        table.add_column("property", ratio=1)
        table.add_column("what was seen", ratio=1, overflow="fold")
        for result in self.results:
            verdict = Text("passed", "green") if result.passed else Text("FAILED", "bold red")
            table.add_row(verdict, Text(result.property), Text(result.message))
        return table


def run(
    subject: Subject, properties: Sequence[Property[Subject]], prefix: str = ""
) -> list[Result]:
    """The results of all properties, their names after ``prefix``; equal errors are told once."""
    results: list[Result] = []
    first: dict[str, str] = {}
    for checked in properties:
        found = checked.result(subject)
        message, name = found.message, prefix + found.property
        if not found.passed and first.setdefault(message, name) != name:
            message = f"as under {first[message]!r}"
        results.append(Result(name, found.passed, message))
    return results
