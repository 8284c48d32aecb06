"""Forgetting MQAR asks for the last value of every key."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import forgetting_mqar
from solving import assert_windows_reach, made, on

from recall_bench.tasks import IGNORE
from recall_bench.tasks.recall.forgetting_mqar import ForgettingMQAR
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn, **fixed: object) -> ForgettingMQAR:
    """One segment that fits, the tightest geometries and vocabularies included."""
    pairs = draw(st.integers(1, 8))
    updates = draw(st.integers(0, pairs))
    length = 2 * (2 * pairs + updates) + draw(st.integers(0, 9))
    options = {
        "vocab_size": 2 * (pairs + max(updates, 1)) + draw(st.integers(0, 100)),
        "power_a": draw(st.sampled_from([0.01, 1.0, 2.0])),
        "filler": draw(st.sampled_from(["distinct", "zero"])),
    }
    return on(ForgettingMQAR, f"{length}:{pairs}:{updates}:4", **options | fixed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_a_dictionary_that_is_overwritten_answers_every_query(
    task: ForgettingMQAR, seed: int
) -> None:
    segment, examples = task.train[0], made(task, seed)
    assert_right(examples, forgetting_mqar.solve)
    D, context = segment.pairs, 2 * (segment.pairs + segment.updates)
    half = task.vocab_size // 2
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        keys, values = row[: 2 * D : 2], row[1:context:2]
        assert len(set(keys)) == D
        assert len(set(values)) == len(values)
        assert len(set(row[2 * D : context : 2])) == segment.updates
        assert set(row[2 * D : context : 2]) <= set(keys)
        assert all(1 <= key < half for key in keys)
        assert all(half <= value < task.vocab_size for value in values)
        asked = [at for at, label in enumerate(labels) if label != IGNORE]
        assert sorted(row[at] for at in asked) == sorted(keys)
        assert all(at >= context and (at - context) % 2 == 0 for at in asked)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(tasks())
def test_a_query_is_marked_as_updated_where_its_key_has_two_values(task: ForgettingMQAR) -> None:
    segment, examples = task.train[0], made(task)
    updated = examples.slices["updated"]
    assert isinstance(updated, torch.Tensor)
    context = 2 * (segment.pairs + segment.updates)
    for row, at in (examples.labels != IGNORE).nonzero().tolist():
        shown = examples.inputs[row, :context:2].tolist()
        assert shown.count(int(examples.inputs[row, at])) == 1 + int(updated[row, at])


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(ForgettingMQAR, "18:3:2:1", vocab_size=20))
    row = [9, 14, 2, 16, 7, 18, 2, 13, 9, 19, 9, 11, 7, 6, 2, 6, 12, 8]
    assert examples.inputs.tolist() == [row]
    assert asked_of(examples) == {10: 19, 12: 18, 14: 13}


@pytest.mark.parametrize("segment", ["64:4:4:2000", "64:9:2:2000", "40:8:0:2000"])
def test_a_window_reaches_the_queries_whose_last_assignment_it_holds(segment: str) -> None:
    task = on(ForgettingMQAR, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 4096)


def test_zoologys_filler_may_repeat_a_key() -> None:
    inputs = made(on(ForgettingMQAR, "32:2:1:64", vocab_size=16, filler="any")).inputs
    assert (inputs[:, 7::2] == inputs[:, 0:1]).any()


def test_the_defaults_are_those_of_zoology() -> None:
    task = ForgettingMQAR()
    assert [(s.length, s.pairs, s.updates) for s in task.train] == [
        (64, 4, 4),
        (128, 9, 4),
        (256, 16, 4),
        (256, 25, 4),
        (256, 36, 4),
    ]
    assert [s.pairs for s in task.test] == [4, 9, 16, 36, 64, 144, 256]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "64:4:5:1"}, r"train segment 64:4:5:1: .*updates <= pairs, got 5 > 4"),
        ({"test": "19:4:2:1"}, r"2 \* \(2 \* pairs \+ updates\) <= length, got 20 > 19"),
        ({"vocab_size": 128}, r"pairs <= vocab_size / 2 - 1, got 64 > 128 / 2 - 1 = 63"),
        (
            {"train": "64:4:4:1", "test": "64:4:4:1", "validation": "64:4:4:1", "vocab_size": 14},
            r"4 \+ 4 > 7",
        ),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ForgettingMQAR(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    segments = "40:4:4:40,48:6:2:40"
    check_task(
        on(ForgettingMQAR, segments, vocab_size=64), solver=forgetting_mqar.solve
    ).raise_if_failed()
