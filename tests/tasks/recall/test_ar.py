"""Associative recall asks for one key among pairs that agree with each other."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import ar
from solving import assert_windows_reach, made, on

from recall_bench.tasks.recall.ar import AssociativeRecall
from recall_bench.testing import check_task


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 30), st.integers(4, 40), st.integers(0, 2**31))
def test_a_lookup_answers_every_example(half: int, vocab_size: int, seed: int) -> None:
    task = on(AssociativeRecall, f"{2 * half}:5", vocab_size=vocab_size)
    examples = made(task, seed)
    assert_right(examples, ar.solve)
    keys, values = examples.inputs[:, :-2:2], examples.inputs[:, 1:-2:2]
    assert ((keys >= 1) & (keys < vocab_size // 2)).all()
    assert ((values >= vocab_size // 2) & (values < vocab_size)).all()
    for row, shown in zip(keys.tolist(), values.tolist(), strict=True):
        pairs = list(zip(row, shown, strict=True))
        assert len(set(pairs)) == len(set(row))


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(AssociativeRecall, "12:1", vocab_size=8))
    assert examples.inputs.tolist() == [[3, 4, 1, 5, 2, 5, 1, 5, 3, 4, 0, 2]]
    assert asked_of(examples) == {11: 5}


def test_every_key_that_is_shown_is_asked_for_equally_often() -> None:
    inputs = made(on(AssociativeRecall, "8:4000", vocab_size=6)).inputs
    mixed = inputs[(inputs[:, :-2:2] == 1).sum(1) == 2]  # key 1 twice, key 2 once
    assert (mixed[:, -1] == 1).double().mean() == pytest.approx(0.5, abs=0.04)


def test_the_share_of_a_window_is_that_of_queries_it_reaches() -> None:
    task = on(AssociativeRecall, "42:3000")
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 10)
    assert task.window_ceiling(task.train[0], 42) == pytest.approx(1)


def test_guessing_gets_one_over_the_number_of_values() -> None:
    task = on(AssociativeRecall, "42:4000")
    guessed = made(task).labels[:, -1] == 15
    assert guessed.double().mean() == pytest.approx(task.chance(task.train[0]), abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "41:5"}, r"train segment 41:5: .*length = 2 \* pairs \+ 2, got 41; .* is 40"),
        ({"test": "2:5"}, r"test segment 2:5: .*got 2; the nearest is 4"),
        ({"vocab_size": 3}, r"greater than or equal to 4"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AssociativeRecall(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    check_task("ar", solver=ar.solve).raise_if_failed()
    assert torch.equal(
        made(on(AssociativeRecall, "8:3")).inputs[0], made(on(AssociativeRecall, "8:9")).inputs[0]
    )
