"""Selective copying wants the data tokens, and nothing but them, in their order."""

from functools import partial

import pytest
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import mad_selective_copying

from recall_bench.tasks import generate
from recall_bench.tasks.mad.selective_copying import MAD_CHANGES, MADSelectiveCopying
from recall_bench.testing import check_task


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 30), st.integers(4, 20), st.integers(0, 2**31))
def test_crossing_out_the_blanks_gives_every_answer(
    data: int, spare: int, vocab_size: int, seed: int
) -> None:
    task = MADSelectiveCopying(train=f"{2 * data + 1 + spare}:{data}:4", vocab_size=vocab_size)
    examples = generate(task, "train", 0, seed)
    assert_right(examples, partial(mad_selective_copying.solve, vocab_size=vocab_size))
    assert (examples.inputs[:, -data:] == vocab_size - 2).all()
    assert (examples.labels[:, :-data] < 0).all()
    assert ((examples.inputs < vocab_size - 2).sum(1) == data).all()
    assert ((examples.inputs == vocab_size - 1).sum(1) == 1).all()


def test_an_example_looks_as_it_always_has() -> None:
    examples = generate(MADSelectiveCopying(train="16:4:1", vocab_size=8), "train", 0, 0)
    assert examples.inputs.tolist() == [[3, 6, 6, 6, 6, 6, 3, 6, 4, 0, 6, 7, 6, 6, 6, 6]]
    assert asked_of(examples) == {12: 3, 13: 3, 14: 4, 15: 0}


def test_data_stand_at_all_places_equally_often() -> None:
    inputs = generate(MADSelectiveCopying(train="16:3:4000"), "train", 0, 0).inputs
    share = (inputs[:, :12] < 14).double().mean(0)
    assert (share - 3 / 12).abs().max() < 0.03


def test_a_window_reaches_what_the_order_of_random_places_says() -> None:
    """One data token among M = 8 places, asked for right after the mark at place 8."""
    task = MADSelectiveCopying(train="10:1:5", vocab_size=6)
    for window in range(11):
        near = min(max(window - 2, 0), 8) / 8
        ceiling = task.window_ceiling(task.train[0], window)
        assert ceiling == pytest.approx(near + (1 - near) / 4, abs=0.03)


def test_the_defaults_and_the_changes_are_mads() -> None:
    task = MADSelectiveCopying()
    assert (str(task.train[0]), str(task.test[0]), task.tokens) == (
        "256:16:12800",
        "256:16:1280",
        16,
    )
    changed = [MADSelectiveCopying(**change) for change in MAD_CHANGES]
    assert [task.vocab_size for task in changed[:3]] == [32, 64, 128]
    assert [str(task.test[0]) for task in changed[3:5]] == ["512:16:1280", "1024:16:1280"]
    assert [task.train[0].examples for task in changed[5:9]] == [6400, 3200, 1600, 800]
    assert [task.train[0].data for task in changed[9:]] == [32, 64, 96]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "32:16:5"}, r"segment 32:16:5: .*got 2 \* 16 \+ 1 = 33 > 32; at most 15 fit"),
        ({"vocab_size": 3}, r"greater than or equal to 4"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MADSelectiveCopying(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    solve = partial(mad_selective_copying.solve, vocab_size=16)
    check_task("mad-selective-copying", solver=solve).raise_if_failed()
