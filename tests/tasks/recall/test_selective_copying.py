"""Selective copying asks for the items in order, wherever they stand."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import selective_copying
from solving import assert_windows_reach, made, on

from recall_bench.tasks.recall.selective_copying import NOISE, SelectiveCopying
from recall_bench.testing import check_task


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 30), st.integers(4, 40), st.integers(0, 2**31))
def test_a_queue_answers_every_mark(items: int, more: int, vocab_size: int, seed: int) -> None:
    length = 2 * items + more
    examples = made(on(SelectiveCopying, f"{length}:{items}:5", vocab_size=vocab_size), seed)
    assert_right(examples, selective_copying.solve)
    assert asked_of(examples).keys() == set(range(length - items, length))
    before, marks = examples.inputs.split([length - items, items], 1)
    assert (before != NOISE).sum(1).tolist() == [items] * 5
    assert before.max() < vocab_size - 1
    assert (marks == vocab_size - 1).all()


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(SelectiveCopying, "15:4:1", vocab_size=8))
    assert examples.inputs.tolist() == [[4, 0, 0, 0, 0, 0, 4, 0, 5, 1, 0, 7, 7, 7, 7]]
    assert asked_of(examples) == {11: 4, 12: 4, 13: 5, 14: 1}


def test_every_place_is_as_likely_for_an_item_as_any_other() -> None:
    inputs = made(on(SelectiveCopying, "13:3:5000")).inputs
    share = (inputs[:, :10] != NOISE).double().mean(0)
    assert torch.allclose(share, torch.tensor(0.3).double(), atol=0.03)


@pytest.mark.parametrize("segment", ["40:5:2000", "12:6:2000"])
def test_a_window_reaches_the_items_near_their_marks(segment: str) -> None:
    task = on(SelectiveCopying, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 14)


def test_the_defaults_are_those_of_mamba() -> None:
    task = SelectiveCopying()
    assert (task.tokens, task.test[0].length - 16, task.test[0].items) == (16, 4096, 16)
    assert 1 / 14 < task.window_ceiling(task.test[0], 512) < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "15:8:5"}, r"segment 15:8:5: .*items <= length, got 16 > 15; at most 7 items"),
        ({"vocab_size": 3}, r"greater than or equal to 4"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SelectiveCopying(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    task = on(SelectiveCopying, "40:4:40,60:6:40")
    check_task(task, solver=selective_copying.solve).raise_if_failed()
