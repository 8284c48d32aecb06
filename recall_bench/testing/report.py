"""Properties of a subject, and the report of those that hold."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from rich import box
from rich.table import Table
from rich.text import Text

from recall_bench.plugins import interrupts

Subject = TypeVar("Subject")
TORCH = Path(torch.__file__).parent
Outcome = Literal["passed", "failed", "not offered"]
VERDICTS: dict[Outcome, tuple[str, str]] = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "bold red"),
    "not offered": ("not offered", "dim"),
}
"""Text and style of an outcome in a table."""


class Failure(Exception):
    """A property does not hold; the message says where and by how much."""


class NotOffered(Exception):
    """The subject lacks the feature that a property concerns; the message names it."""


@dataclass(frozen=True)
class Property(Generic[Subject]):
    """A property that every subject must have.

    ``check`` returns a remark on the result. It raises `Failure` if the property does not hold and
    `NotOffered` if it does not apply to the subject.
    """

    name: str
    cause: str
    """The usual cause of a failure."""
    check: Callable[[Subject], str]

    def result(self, subject: Subject) -> "Result":
        """Run the check; any error that the subject raises is a failure too."""
        try:
            return Result(self.name, "passed", self.check(subject))
        except NotOffered as reason:
            return Result(self.name, "not offered", str(reason))
        except Failure as failure:
            message = f"{failure}. Usual cause: {self.cause}."
        except BaseException as error:
            if interrupts.by_user(error):
                raise
            frames = reversed(traceback.extract_tb(error.__traceback__))
            frame = next((f for f in frames if TORCH not in Path(f.filename).parents), None)
            line = f" ({frame.filename}, line {frame.lineno})" if frame else ""
            message = f"raised {type(error).__name__}: {error}{line}"
        return Result(self.name, "failed", message)


@dataclass(frozen=True)
class Result:
    """One property of one subject."""

    property: str
    outcome: Outcome
    message: str


@dataclass(frozen=True)
class Report:
    """The results of a subject's check; rich prints it as a table."""

    subject: str
    results: tuple[Result, ...]
    where: str = ""
    """The precision and device of the check, such as "float64 cpu"."""

    @property
    def passed(self) -> bool:
        """Whether no property fails; properties that the subject does not offer do not count."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        return self._with("failed")

    @property
    def verified(self) -> str:
        """Properties that hold, of all, with precision and device: "14/17 float32 cuda"."""
        return f"{len(self._with('passed'))}/{len(self.results)} {self.where}".rstrip()

    def _with(self, outcome: Outcome) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome == outcome)

    def raise_if_failed(self) -> None:
        """Raise `AssertionError` listing the failing properties, if there are any."""
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
        table.add_column("details", ratio=1, overflow="fold")
        for result in self.results:
            verdict = Text(*VERDICTS[result.outcome])
            table.add_row(verdict, Text(result.property), Text(result.message))
        return table


def run(
    subject: Subject, properties: Sequence[Property[Subject]], prefix: str = ""
) -> list[Result]:
    """Check all properties; prefixes their names and reports equal errors once."""
    results: list[Result] = []
    first: dict[str, str] = {}
    for checked in properties:
        result = checked.result(subject)
        message, name = result.message, prefix + result.property
        if result.outcome == "failed" and first.setdefault(message, name) != name:
            message = f"as under {first[message]!r}"
        results.append(Result(name, result.outcome, message))
    return results
