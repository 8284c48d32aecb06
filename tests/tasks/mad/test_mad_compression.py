"""Compression asks for every token of the sequence but the mark, and reads the mark's vector."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.mad.compression import MAD_CHANGES, MADCompression
from recall_bench.testing import check_task


def solve(inputs: list[int], asked: list[int]) -> list[int]:
    """What stands where it is asked; the readout keeps a model from looking there."""
    return [inputs[at] for at in asked]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(3, 40), st.integers(0, 2**31))
def test_every_token_before_the_mark_is_asked_for(length: int, vocab: int, seed: int) -> None:
    examples = generate(MADCompression(train=f"{length}:4", vocab_size=vocab), "train", 0, seed)
    assert_right(examples, solve)
    assert (examples.inputs[:, :-1] < vocab - 1).all()
    assert (examples.inputs[:, -1] == vocab - 1).all()
    assert ((examples.labels != IGNORE).sum(1) == length - 1).all()


def test_an_example_looks_as_it_always_has() -> None:
    examples = generate(MADCompression(train="8:1"), "train", 0, 0)
    assert examples.inputs.tolist() == [[0, 9, 7, 9, 13, 9, 9, 15]]
    assert asked_of(examples) == {0: 0, 1: 9, 2: 7, 3: 9, 4: 13, 5: 9, 6: 9}


def test_the_answers_are_read_from_the_last_token() -> None:
    assert MADCompression.readout == "sequence"


def test_the_gap_is_how_large_a_window_of_the_mark_holds_the_token() -> None:
    task = MADCompression(train="8:1")
    gap = generate(task, "train", 0, 0).slices["gap"]
    assert isinstance(gap, torch.Tensor)
    assert gap.tolist() == [[8, 8, 8, 8, 4, 4, 2, 1]]
    ceilings = [task.window_ceiling(task.train[0], window) for window in (1, 2, 4, 8, 100)]
    shares = [0, 1 / 7, 3 / 7, 1, 1]
    assert ceilings == pytest.approx([share + (1 - share) / 15 for share in shares])


def test_the_defaults_and_the_changes_are_mads() -> None:
    task = MADCompression()
    assert (str(task.train[0]), str(task.test[0]), task.tokens) == ("32:12800", "32:1280", 16)
    changed = [MADCompression(**change) for change in MAD_CHANGES]
    assert [task.vocab_size for task in changed[:3]] == [32, 64, 128]
    assert [task.test[0].length for task in changed[3:6]] == [64, 128, 256]
    assert [task.train[0].examples for task in changed[6:]] == [6400, 3200, 1600, 800]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "1:5"}, r"train segment 1:5: .*Expected length >= 2, got 1"),
        ({"vocab_size": 2}, r"greater than or equal to 3"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MADCompression(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    check_task("mad-compression", solver=solve).raise_if_failed()
