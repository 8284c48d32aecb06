"""Copying asks for every letter of the string, in order, with the copy so far before it."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import copying
from solving import assert_windows_reach, made, on

from recall_bench.tasks import IGNORE
from recall_bench.tasks.recall.copying import Copying
from recall_bench.testing import check_task


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(1, 10), st.integers(0, 12), st.integers(2, 30), st.integers(0, 2**31))
def test_the_copy_is_the_string_and_nothing_else_is_asked(
    shortest: int, more: int, alphabet: int, seed: int
) -> None:
    length = 2 * shortest + 1 + more
    examples = made(on(Copying, f"{length}:{shortest}:5", alphabet=alphabet), seed)
    assert_right(examples, copying.solve)
    start, end, pad = alphabet, alphabet + 1, alphabet + 2
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        size = row.index(end) - 1
        string = row[1 : size + 1]
        assert shortest <= size <= (length - 1) // 2
        assert max(string) < alphabet
        copied = string[:-1]
        padding = [pad] * (length - 2 * size - 1)
        assert row == [start, *string, end, *copied, *padding]
        assert labels == [IGNORE] * (size + 1) + string + [IGNORE] * len(padding)


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(Copying, "12:3:1", alphabet=6))
    assert examples.inputs.tolist() == [[6, 3, 3, 4, 0, 7, 3, 3, 4, 8, 8, 8]]
    assert asked_of(examples) == {5: 3, 6: 3, 7: 4, 8: 0}


def test_every_length_of_string_is_as_likely_as_any_other() -> None:
    labels = made(on(Copying, "21:6:5000")).labels
    sizes = (labels != IGNORE).sum(1).bincount(minlength=11)[6:].double() / 5000
    assert torch.allclose(sizes, torch.tensor(0.2).double(), atol=0.02)


@pytest.mark.parametrize("segment", ["101:8:2000", "33:16:100"])
def test_a_window_reaches_the_strings_that_fit_into_it(segment: str) -> None:
    task = on(Copying, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 26)


def test_the_defaults_are_those_of_repeat_after_me() -> None:
    task = Copying()
    assert [(s.shortest, s.longest) for s in task.train] == [(8, 50)]
    assert [(s.shortest, s.longest) for s in task.test] == [
        (size, size) for size in (10, 20, 50, 100, 200)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "20:10:5"}, r"segment 20:10:5: .*2 \* shortest \+ 1 <= length, got 21 > 20"),
        ({"alphabet": 1}, r"greater than or equal to 2"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Copying(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    check_task(on(Copying, "21:3:40,41:20:40"), solver=copying.solve).raise_if_failed()
