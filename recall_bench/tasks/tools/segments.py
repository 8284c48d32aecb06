"""Segments written as text, and tasks whose splits are fields.

A segment is written ``length:…:examples``, with the fields of its class in between, in the order
in which the class declares them; segments are joined by commas. ``64:4:100_000,128:8:20_000`` are
two segments of MQAR, (length, pairs, examples).
"""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import model_validator

from recall_bench.tasks.base import SPLITS, Segment, Split, Task

AnySegment = TypeVar("AnySegment", bound=Segment)


def read_text(cls: type[Segment]) -> Callable[[Any], Any]:
    """A pydantic `BeforeValidator`: segments of ``cls`` from text; other values pass through.

        Segments = Annotated[
            tuple[MySegment, ...], BeforeValidator(read_text(MySegment)), Field(min_length=1)
        ]

    The validator raises `ValueError` for text of another form.
    """
    names = cls.text_fields()

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [_read_one(cls, names, text.strip()) for text in value.split(",")]

    return read


def segments_of(cls: type[AnySegment], text: str) -> tuple[AnySegment, ...]:
    """The segments of ``cls`` that ``text`` describes, such as a task's published ones."""
    return tuple(cls(**fields) for fields in read_text(cls)(text))


def _read_one(cls: type[Segment], names: list[str], text: str) -> dict[str, Any]:
    parts = text.split(":")
    try:
        values = [_number(cls, *pair) for pair in zip(names, parts, strict=True)]
    except ValueError:
        raise ValueError(
            f"segment {text!r} is not of the form {':'.join(names)}. "
            f"Expected for example {_example(names)!r}"
        ) from None
    return dict(zip(names, values, strict=True))


def _number(cls: type[Segment], name: str, text: str) -> int | float:
    kind = cls.model_fields[name].annotation
    return float(text) if kind is float else int(text.replace("_", ""))


def _example(names: list[str]) -> str:
    fillers = {"length": ("64", "128"), "examples": ("100000", "20000")}
    one, two = (":".join(fillers.get(n, ("4", "8"))[i] for n in names) for i in (0, 1))
    return f"{one},{two}"


class SegmentedTask(Task):
    """A task with the fields ``train``, ``validation`` and ``test``, tuples of its segments.

    A subclass declares the three fields and defines in `misfit` what cannot be built.
    """

    def segments(self, split: Split) -> tuple[Segment, ...]:
        segments: tuple[Segment, ...] = getattr(self, split)
        return segments

    def misfit(self, segment: Any) -> str | None:
        """Why a segment cannot be built: the inequality and the numbers; None where it can."""
        return None

    @model_validator(mode="after")
    def _check_that_segments_fit(self) -> "SegmentedTask":
        for split in SPLITS:
            for segment in self.segments(split):
                if problem := self.misfit(segment):
                    raise ValueError(f"{split} segment {segment}: {problem}")
        return self
