"""Set disjointness asks whether two sets share an element; half of them share one."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import set_disjointness
from solving import made, on

from recall_bench.tasks import IGNORE
from recall_bench.tasks.recall.set_disjointness import ELEMENTS, PAD, SetDisjointness
from recall_bench.testing import check_task


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 60),
    st.integers(0, 2**31),
)
def test_comparing_the_sets_answers_every_example(
    first: int, second: int, padding: int, more: int, seed: int
) -> None:
    vocab_size = max(ELEMENTS + first + second + more, 8)
    segment = f"{first + second + 3 + padding}:{first}:{second}:6"
    examples = made(on(SetDisjointness, segment, vocab_size=vocab_size), seed)
    assert_right(examples, set_disjointness.solve)
    shared = examples.slices["shared"]
    assert isinstance(shared, torch.Tensor)
    for row, label in zip(examples.inputs.tolist(), examples.labels[:, -1].tolist(), strict=True):
        assert row[:padding] == [PAD] * padding
        a, b = set(row[padding + 1 :][:first]), set(row[-1 - second : -1])
        assert (len(a), len(b), len(a & b)) == (first, second, label)
        assert all(ELEMENTS <= element < vocab_size for element in a | b)
    assert torch.equal(shared[:, -1], examples.labels[:, -1])


def test_an_example_looks_as_it_always_has() -> None:
    examples = made(on(SetDisjointness, "10:2:4:1", vocab_size=20))
    assert examples.inputs.tolist() == [[5, 2, 19, 18, 3, 14, 7, 17, 18, 4]]
    assert asked_of(examples) == {9: 1}


def test_the_shared_element_is_anywhere_in_both_sets() -> None:
    inputs = made(on(SetDisjointness, "10:3:4:8000")).inputs
    same = (inputs[:, 1:4, None] == inputs[:, None, 5:9]).double().mean(0)  # (3, 4)
    assert torch.allclose(same, torch.tensor(1 / 24).double(), atol=0.01)


@pytest.mark.parametrize("window", [1, 4, 6, 9, 13])
def test_a_window_is_right_where_it_sees_both_places_or_none_are_shared(window: int) -> None:
    task = on(SetDisjointness, "13:4:6:4000")
    examples = made(task)
    guessed = []
    for row in examples.inputs.tolist():
        seen = [token for token in row[-window:] if token >= ELEMENTS]
        guessed.append(int(len(set(seen)) < len(seen)))
    right = (torch.tensor(guessed) == examples.labels[:, -1]).double().mean()
    assert right == pytest.approx(task.window_ceiling(task.train[0], window), abs=0.03)


def test_the_defaults_are_the_sizes_of_just_read_twice() -> None:
    task = SetDisjointness()
    trained = {(segment.first, segment.second) for segment in task.train}
    assert len(trained) == 12
    assert {(b, a) for a, b in trained} == trained
    assert {(16, 768), (768, 16)} <= {(s.first, s.second) for s in task.test}
    assert task.tokens == 2048
    labels = made(on(SetDisjointness, "7:2:2:2000")).labels
    assert labels[labels != IGNORE].double().mean() == pytest.approx(0.5, abs=0.05)


def test_the_released_task_asks_which_element_is_shared_at_the_released_sizes() -> None:
    task = SetDisjointness(question="which")
    tested = {(segment.first, segment.second) for segment in task.test}
    assert len(task.test) == 20
    assert {(1, 32), (32, 1), (8, 768), (768, 4)} <= tested
    assert {segment.examples for segment in (*task.test, *task.validation)} == {1000}
    assert {(64, 16), (16, 64)} <= {(segment.first, segment.second) for segment in task.train}
    assert {segment.examples for segment in task.train} == {20_000}
    assert SetDisjointness(question="which", test="9:2:4:7").train == task.train


def test_neither_reading_solves_the_other() -> None:
    which = on(SetDisjointness, "12:2:6:40,12:6:2:40", question="which")
    check_task(which, solver=set_disjointness.which).raise_if_failed()
    assert not check_task(which, solver=set_disjointness.solve).passed
    examples = made(on(SetDisjointness, "12:3:6:4000", question="which", vocab_size=30))
    answers = examples.labels[:, -1]
    assert set(answers.unique().tolist()) == set(range(ELEMENTS, 30))
    assert torch.equal(
        answers, answers.where((examples.inputs == answers[:, None]).sum(1) == 2, -1)
    )


def test_the_question_is_named_where_it_is_the_released_one_alone() -> None:
    assert "question" not in SetDisjointness().model_dump()
    assert next(iter(SetDisjointness().model_dump())) == "name"
    which = SetDisjointness(question="which")
    fields = which.model_dump()
    assert fields["question"] == "which"
    assert SetDisjointness(**{k: v for k, v in fields.items() if k != "name"}) == which


@pytest.mark.parametrize("window", [1, 4, 6, 9, 13])
def test_a_window_finds_the_shared_element_or_guesses_one_of_the_second_set(window: int) -> None:
    task = on(SetDisjointness, "13:4:6:6000", question="which", vocab_size=40)
    examples = made(task)
    right = 0
    for row, answer in zip(examples.inputs.tolist(), examples.labels[:, -1].tolist(), strict=True):
        seen = [token for token in row[-window:] if token >= ELEMENTS]
        twice = [token for token in seen if seen.count(token) == 2]
        right += (twice or seen[-1:] or [ELEMENTS])[0] == answer
    assert right / 6000 == pytest.approx(task.window_ceiling(task.train[0], window), abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "8:3:3:5"}, r"8:3:3:5: .*first \+ second \+ 3 <= length, got 9 > 8"),
        ({"vocab_size": 512}, r"first \+ second <= vocab_size - 6, got 528 > 506"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SetDisjointness(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    task = on(SetDisjointness, "12:2:6:40,12:6:2:40")
    check_task(task, solver=set_disjointness.solve).raise_if_failed()
