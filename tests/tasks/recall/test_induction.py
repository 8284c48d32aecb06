"""The induction task asks for what followed the trigger, at any length."""

import pytest
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import induction
from solving import assert_windows_reach, made, on

from recall_bench.tasks.recall.induction import TRIGGER, Induction
from recall_bench.testing import check_task


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(3, 40), st.integers(3, 40), st.integers(0, 2**31))
def test_looking_behind_the_trigger_answers_every_example(
    length: int, vocab_size: int, seed: int
) -> None:
    examples = made(on(Induction, f"{length}:5", vocab_size=vocab_size), seed)
    assert_right(examples, induction.solve)
    assert (examples.inputs == TRIGGER).sum(1).tolist() == [2] * 5
    assert examples.inputs.max() < vocab_size
    assert asked_of(examples).keys() == {length - 1}


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(Induction, "12:1", vocab_size=8))
    assert examples.inputs.tolist() == [[2, 7, 4, 4, 3, 2, 1, 7, 2, 0, 5, 0]]
    assert asked_of(examples) == {11: 5}


def test_a_window_reaches_the_examples_whose_trigger_it_is_near() -> None:
    task = on(Induction, "20:4000")
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 15)


def test_the_defaults_train_at_one_length_and_test_at_many() -> None:
    task = Induction()
    assert (task.tokens, {segment.length for segment in task.train}) == (16, {256})
    assert [segment.length for segment in task.test] == [2**power for power in range(6, 15)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": "2:5"}, r"test segment 2:5: .*Expected length >= 3, got 2"),
        ({"vocab_size": 2}, r"greater than or equal to 3"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Induction(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    check_task(on(Induction, "30:40,50:40"), solver=induction.solve).raise_if_failed()
