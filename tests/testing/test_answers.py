"""The checks of answers find wrong chance levels, leaks, and wrong ceilings, and name them."""

from collections.abc import Sequence

import pytest
import torch

from recall_bench.tasks import IGNORE, Examples, Segment, Split, Task
from recall_bench.testing import Report, check_task
from recall_bench.testing.answers import ANSWER_PROPERTIES, SOLVER_PROPERTY

CHANCE, LEAK, CEILING = (checked.name for checked in ANSWER_PROPERTIES)
VALUES = 8


class Recall(Task):
    """The last token asks for the first; with a chance of one half it was noise instead."""

    stated_chance: float = 1 / VALUES
    stated_ceiling: float = 1.0
    stated_windows: list[float] | None = None
    noisy: bool = False
    leaks: str = ""
    skewed: bool = False

    @property
    def tokens(self) -> int:
        return 2 * VALUES + 1

    def segments(self, split: Split) -> tuple[Segment, ...]:
        return (Segment(length=4, examples=300),)

    def examples(self, segment: Segment, generator: torch.Generator, count: int) -> Examples:
        inputs = torch.randint(VALUES, (count, segment.length), generator=generator)
        if self.skewed:
            inputs[:, 0] = torch.where(inputs[:, 0] < 4, 0, inputs[:, 0])
        labels = torch.full_like(inputs, IGNORE)
        labels[:, -1] = inputs[:, 0]
        if self.noisy:
            shown = torch.rand(count, generator=generator) < 0.5
            inputs[:, 0] = inputs[:, 0].where(shown, 2 * VALUES)
        match self.leaks:
            case "shifted":
                inputs[:, -1] = labels[:, -1]
            case "coded":
                inputs[:, -1] = 2 * VALUES - 1 - labels[:, -1]
            case _:
                inputs[:, -1] = 2 * VALUES
        return Examples(inputs, labels)

    def chance(self, segment: Segment) -> float:
        return self.stated_chance

    def ceiling(self, segment: Segment) -> float:
        return self.stated_ceiling

    def window_ceiling(self, segment: Segment, window: int) -> float | None:
        return None if self.stated_windows is None else self.stated_windows[window.bit_length() - 1]


def solve(inputs: list[int], asked: list[int]) -> Sequence[int]:
    """The first token; a guess where it is noise."""
    return [inputs[0] if inputs[0] < VALUES else 3 for _ in asked]


def failed(report: Report) -> list[str]:
    return [result.property for result in report.failures]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"noisy": True, "stated_ceiling": 0.5 + 0.5 / VALUES},
        {"skewed": True, "stated_chance": 0.5},
        {"stated_windows": [1 / VALUES, 1 / VALUES, 1.0]},
    ],
)
def test_a_task_that_says_the_truth_passes(options: dict[str, object]) -> None:
    report = check_task(Recall, solver=solve, **options)
    report.raise_if_failed()
    assert report.results[-1].property == SOLVER_PROPERTY.name


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"stated_chance": 0.01}, CHANCE, "the most common answer.*chance is given as 0.01"),
        ({"stated_chance": 0.3}, CHANCE, "chance is given as 0.3"),
        ({"skewed": True}, CHANCE, r"is correct with 0\.[45].*chance is given as 0.125"),
        ({"leaks": "shifted"}, LEAK, "the answer is the token at the query with 1"),
        ({"leaks": "coded"}, LEAK, "the token at the query determines the answer with 1"),
        ({"stated_ceiling": 1.5}, CEILING, r"ceiling 1.5, expected chance \(0.125\) to 1"),
        ({"stated_ceiling": 0.1}, CEILING, "ceiling 0.1"),
        ({"stated_windows": [0.0, 0.5, 1.0]}, CEILING, "a window of 1 is 0, expected at least"),
        ({"stated_windows": [0.5, 0.2, 1.0]}, CEILING, "a window of 2 is 0.2, expected at least"),
        ({"stated_windows": [0.2, 0.2, 0.2]}, CEILING, "all 4 tokens has the ceiling 0.2"),
        ({"noisy": True}, SOLVER_PROPERTY.name, "the solver answers 3 at row .* position 3"),
        ({"noisy": True, "stated_ceiling": 0.9}, SOLVER_PROPERTY.name, "the ceiling is 0.9"),
    ],
)
def test_a_lie_is_caught_by_the_property_it_breaks(
    options: dict[str, object], name: str, message: str
) -> None:
    report = check_task(Recall, solver=solve, **options)
    assert name in failed(report)
    with pytest.raises(AssertionError, match=f"FAILED {name}: .*{message}.*Usual cause: "):
        report.raise_if_failed()


def test_a_solver_must_answer_every_query() -> None:
    report = check_task(Recall, solver=lambda inputs, asked: [])
    assert "0 answers for 1 queries" in report.results[-1].message


def test_without_a_solver_the_other_properties_are_checked() -> None:
    assert SOLVER_PROPERTY.name not in [r.property for r in check_task(Recall).results]


def test_what_is_read_from_the_last_token_may_stand_in_the_inputs() -> None:
    class Compression(Recall):
        readout = "sequence"

    check_task(Compression, leaks="shifted").raise_if_failed()
