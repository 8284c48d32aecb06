"""Compositional MQAR needs both parts of a key: one alone leaves all values of a row or column."""

import math

import pytest
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import compositional_mqar
from solving import assert_windows_reach, made, on

from recall_bench.tasks import IGNORE
from recall_bench.tasks.recall.compositional_mqar import CompositionalMQAR
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> CompositionalMQAR:
    """One segment that fits, the tightest geometries and vocabularies included."""
    side = draw(st.integers(1, 4))
    pairs = side * side
    length = 6 * pairs + draw(st.integers(0, 9))
    return on(
        CompositionalMQAR,
        f"{length}:{pairs}:4",
        vocab_size=max(3 * (side + 1), 3 * pairs) + draw(st.integers(0, 100)),
        power_a=draw(st.sampled_from([0.01, 1.0, 2.0])),
        filler=draw(st.sampled_from(["distinct", "any", "zero"])),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_a_dictionary_of_bigrams_answers_every_query(task: CompositionalMQAR, seed: int) -> None:
    segment, examples = task.train[0], made(task, seed)
    assert_right(examples, compositional_mqar.solve)
    D, third = segment.pairs, task.vocab_size // 3
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        first, second, values = (row[start : 3 * D : 3] for start in range(3))
        assert len(set(first)) == len(set(second)) == math.isqrt(D)
        assert len(set(zip(first, second, strict=True))) == len(set(values)) == D
        assert all(1 <= part < third for part in first)
        assert all(third <= part < 2 * third for part in second)
        assert all(2 * third <= value < task.vocab_size for value in values)
        asked = [at for at, label in enumerate(labels) if label != IGNORE]
        keys = sorted((row[at - 1], row[at]) for at in asked)
        assert keys == sorted(zip(first, second, strict=True))


def test_distinct_filler_holds_no_part_of_a_key() -> None:
    examples = made(on(CompositionalMQAR, "64:4:64", vocab_size=24))
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        asked = {at - back for at, label in enumerate(labels) if label != IGNORE for back in (0, 1)}
        filler = {token for at, token in enumerate(row) if at >= 12 and at not in asked}
        assert not filler & {*row[0:12:3], *row[1:12:3]}


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(CompositionalMQAR, "26:4:1", vocab_size=30))
    listed = [4, 14, 25, 4, 11, 23, 7, 11, 24, 7, 14, 29]
    queries = [7, 11, 9, 4, 14, 22, 4, 11, 12, 7, 14, 15, 17, 26]
    assert examples.inputs.tolist() == [[*listed, *queries]]
    assert asked_of(examples) == {13: 24, 16: 25, 19: 23, 22: 29}


@pytest.mark.parametrize("segment", ["64:4:2000", "64:9:2000"])
def test_a_window_reaches_the_queries_whose_value_it_holds(segment: str) -> None:
    task = on(CompositionalMQAR, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 2732)


def test_the_defaults_are_those_of_zoology() -> None:
    task = CompositionalMQAR()
    assert [(s.length, s.pairs) for s in task.train] == [
        (64, 4),
        (128, 9),
        (256, 16),
        (256, 25),
        (256, 36),
    ]
    assert [s.pairs for s in task.test] == [4, 9, 16, 36, 64, 144, 256]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "64:5:1"}, r"train segment 64:5:1: .*square number, got 5; .* 4 and 9"),
        ({"test": "53:9:1"}, r"6 \* pairs <= length, got 6 \* 9 = 54 > 53"),
        ({"train": "24:4:1", "vocab_size": 8}, r"sqrt\(pairs\) .* got 2 > 8 / 3 - 1 = 1"),
        ({"vocab_size": 700}, r"too few distinct values for 256 pairs. .* got 256 > 234"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CompositionalMQAR(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    task = on(CompositionalMQAR, "40:4:40,60:9:40", vocab_size=60)
    check_task(task, solver=compositional_mqar.solve).raise_if_failed()
