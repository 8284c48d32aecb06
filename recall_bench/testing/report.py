"""Properties, and the report of which of them hold."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from rich import box
from rich.table import Table
from rich.text import Text

Subject = TypeVar("Subject")
TORCH = Path(torch.__file__).parent
Outcome = Literal["passed", "failed", "not offered"]
VERDICTS: dict[Outcome, tuple[str, str]] = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "bold red"),
    "not offered": ("not offered", "dim"),
}
"""What a table shows for an outcome: text and style."""


class Failure(Exception):
    """A property does not hold; the message says where and by how much."""


class NotOffered(Exception):
    """The subject does not have what a property is about; the message says what."""


@dataclass(frozen=True)
class Property(Generic[Subject]):
    """Something every subject must satisfy.

    ``check`` returns a remark on what it saw. It raises `Failure` where the property does not hold
    and `NotOffered` where it has no meaning for the subject.
    """

    name: str
    cause: str
    """What usually causes a failure."""
    check: Callable[[Subject], str]

    def result(self, subject: Subject) -> "Result":
        """Run the check; whatever the subject raises is a failure too."""
        try:
            return Result(self.name, "passed", self.check(subject))
        except NotOffered as reason:
            return Result(self.name, "not offered", str(reason))
        except Failure as failure:
            found = str(failure)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            at = next((f for f in reversed(frames) if TORCH not in Path(f.filename).parents), None)
            where = f" ({at.filename}, line {at.lineno})" if at else ""
            return Result(self.name, "failed", f"raised {type(error).__name__}: {error}{where}")
        return Result(self.name, "failed", f"{found}. Usual cause: {self.cause}.")


@dataclass(frozen=True)
class Result:
    """One property of one subject."""

    property: str
    outcome: Outcome
    message: str


@dataclass(frozen=True)
class Report:
    """Which properties of a subject hold; rich prints it as a table."""

    subject: str
    results: tuple[Result, ...]
    where: str = ""
    """The precision and device of the check, such as "float64 cpu"."""

    @property
    def passed(self) -> bool:
        """Whether no property fails; those that the subject does not offer do not count."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        return self._with("failed")

    @property
    def verified(self) -> str:
        """How many properties hold, of how many, and where: "14/17 float32 cuda"."""
        return f"{len(self._with('passed'))}/{len(self.results)} {self.where}".rstrip()

    def _with(self, outcome: Outcome) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome == outcome)

    def raise_if_failed(self) -> None:
        """Raises `AssertionError`, listing the properties that do not hold."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        missing = len(self._with("not offered"))
        lines = [
            f"{self.subject}: {len(self._with('passed'))} of {len(self.results)} properties hold"
            + (f", {missing} not offered" if missing else "")
            + (f" ({self.where})" if self.where else "")
        ]
        lines += [f"  FAILED {result.property}: {result.message}" for result in self.failures]
        return "\n".join(lines)

    def __rich__(self) -> Table:
        table = Table(title=str(self).splitlines()[0], title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("result")
        table.add_column("property", ratio=1)
        table.add_column("what was seen", ratio=1, overflow="fold")
        for result in self.results:
            verdict = Text(*VERDICTS[result.outcome])
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
        if found.outcome == "failed" and first.setdefault(message, name) != name:
            message = f"as under {first[message]!r}"
        results.append(Result(name, found.outcome, message))
    return results
