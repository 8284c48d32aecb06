"""The phone book asks for one number, after two that it shows."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import phonebook
from solving import assert_windows_reach, made, on

from recall_bench.tasks.recall.phonebook import COLON, NAMES, NEWLINE, Phonebook
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> Phonebook:
    """One segment that fits, the tightest geometries and name lists included."""
    shown, digits = draw(st.integers(0, 3)), draw(st.integers(1, 5))
    entries = shown + 1 + draw(st.integers(0, 5))
    line = digits + 4
    needed = line * (entries + shown + 1) - 1 + bool(shown)
    return on(
        Phonebook,
        f"{needed + draw(st.integers(0, 5))}:{entries}:5",
        names=max(2, next(n for n in range(1, 9) if n * n >= entries)) + draw(st.integers(0, 9)),
        digits=digits,
        shown=shown,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_a_dictionary_of_the_lines_answers_every_question(task: Phonebook, seed: int) -> None:
    segment, examples = task.train[0], made(task, seed)
    assert_right(examples, phonebook.solve)
    for index, row in enumerate(examples.inputs.tolist()):
        asked = asked_of(examples, index)
        assert sorted(asked) == list(range(segment.length - task.digits, segment.length))
        names = [(row[at - 2], row[at - 1]) for at, token in enumerate(row) if token == COLON]
        book, shown, question = (
            names[: segment.entries],
            names[segment.entries : -1],
            names[-1],
        )
        assert len(set(book)) == segment.entries
        assert len(shown) == task.shown
        assert len({*shown, question}) == task.shown + 1
        assert {*shown, question} <= set(book)
        for first, last in names:
            assert NAMES <= first < NAMES + task.names <= last < task.tokens


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(Phonebook, "32:3:1", names=3, digits=2, shown=1))
    book = [14, 17, 10, 7, 2, 11, 12, 16, 10, 0, 5, 11, 14, 15, 10, 1, 2, 11]
    question = [14, 17, 10, 7, 2, 11, 11, 14, 15, 10, 1]
    assert examples.inputs.tolist() == [[11, 11, *book, 11, *question]]
    assert asked_of(examples) == {30: 1, 31: 2}


def test_padding_stands_before_the_book() -> None:
    inputs = made(on(Phonebook, "40:3:4", names=3, digits=2, shown=1)).inputs
    assert (inputs[:, :10] == NEWLINE).all()
    assert (inputs[:, 10] >= NAMES).all()


@pytest.mark.parametrize("segment", ["112:5:2000", "200:10:2000"])
def test_a_window_reaches_the_entries_it_holds(segment: str) -> None:
    task = on(Phonebook, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 10)


def test_default_lengths_fit_the_books_exactly() -> None:
    task = Phonebook()
    for segment in (*task.train, *task.test):
        inputs = task.examples(segment, torch.Generator(), 1).inputs
        assert inputs[0, 0] >= NAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "111:5:9"}, r"111:5:9: .*Expected 14 \* entries \+ 42 <= length, got 112 > 111"),
        ({"shown": 5, "train": "300:5:9"}, r"Expected shown \+ 1 <= entries, got 5 \+ 1 > 5"),
        ({"names": 8}, r"entries <= names \*\* 2, got 80 > 64"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Phonebook(**({"train": "200:6:9", "validation": "200:6:9"} | options))


def test_the_contract_of_tasks_is_kept() -> None:
    task = on(Phonebook, "60:4:40,80:6:40", digits=3)
    check_task(task, solver=phonebook.solve).raise_if_failed()
