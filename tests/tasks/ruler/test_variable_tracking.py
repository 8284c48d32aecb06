"""Variable tracking asks for one chain of assignments, whatever lies between them."""

from typing import Any

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import variable_tracking

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.ruler.variable_tracking import VariableTracking
from recall_bench.testing import check_task


def task_of(segment: str, **options: Any) -> VariableTracking:
    return VariableTracking(train=segment, validation=segment, test=segment, **options)


@st.composite
def tasks(draw: st.DrawFn) -> VariableTracking:
    chains, hops = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    length = 3 * chains * (hops + 1) + hops + 2 + draw(st.integers(0, 40))
    return task_of(
        f"{length}:{chains}:{hops}:4",
        feedback=draw(st.booleans()),
        haystack=draw(st.sampled_from(["repeat", "random"])),
        variables=chains * (hops + 1) + draw(st.integers(1, 40)),
        value_symbols=chains + draw(st.integers(0, 10)),
        filler_symbols=draw(st.integers(1, 30)),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_following_the_assignments_answers_every_question(
    task: VariableTracking, seed: int
) -> None:
    segment, examples = task.train[0], generate(task, "train", 0, seed)
    assert_right(examples, variable_tracking.solve)
    length, steps = segment.length, segment.hops + 1
    asked = [*range(length - steps, length)]
    for inputs, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        assert [at for at, label in enumerate(labels) if label != IGNORE] == asked
        assert inputs.count(0) == segment.chains * steps
        fed_back = inputs[length - steps + 1 :]
        assert fed_back == (labels[length - steps : -1] if task.feedback else [1] * segment.hops)
        stands = [inputs.index(label) for label in labels[length - steps :]]
        assert stands == sorted(stands)


def test_an_example_looks_as_it_always_has() -> None:
    options = {"variables": 9, "value_symbols": 2, "filler_symbols": 3}
    examples = generate(task_of("32:2:2:1", **options), "train", 0, 0)
    assert examples.inputs.tolist() == [
        [
            0,
            10,
            12,
            0,
            3,
            10,
            13,
            14,
            15,
            13,
            0,
            5,
            11,
            14,
            0,
            4,
            5,
            15,
            13,
            14,
            0,
            2,
            4,
            15,
            0,
            8,
            3,
            13,
            1,
            12,
            10,
            3,
        ]
    ]
    assert asked_of(examples) == {29: 10, 30: 3, 31: 8}


def test_hops_and_gaps_are_told_for_every_variable() -> None:
    """The row of the test above: x1 = 3 is last used at 26, and its label stands at 30."""
    options = {"variables": 9, "value_symbols": 2, "filler_symbols": 3}
    slices = generate(task_of("32:2:2:1", **options), "train", 0, 0).slices
    assert isinstance(slices["hops"], torch.Tensor)
    assert isinstance(slices["gap"], torch.Tensor)
    assert slices["hops"][0, 29:].tolist() == [0, 1, 2]
    assert slices["gap"][0, 29:].tolist() == [32, 8, 8]


def test_a_window_reaches_the_variables_that_it_shows() -> None:
    """One assignment among 7 places: the variable stands 1 to 7 tokens after the beginning."""
    task = task_of("11:1:0:4", variables=8, value_symbols=1)
    for window in range(1, 12):
        near = sum(10 - (start + 1) + 1 <= window for start in range(7)) / 7
        ceiling = task.window_ceiling(task.train[0], window)
        assert ceiling == pytest.approx(near + (1 - near) / 8, abs=0.04)


def test_the_defaults_are_rulers() -> None:
    task = VariableTracking()
    assert str(task.test[-1]) == "4096:1:4:500"
    assert task.haystack == "repeat"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "20:1:4:5"}, r"train segment 20:1:4:5: .*got 3 \* 1 \* 5 \+ 6 = 21 > 20"),
        ({"variables": 5}, r"chains \* \(hops \+ 1\) < variables, got 1 \* 5 = 5 >= 5"),
        ({"train": "512:8:4:5", "value_symbols": 7}, r"chains <= value_symbols, got 8 > 7"),
        ({"haystack": "needles"}, r"'repeat' or 'random'"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VariableTracking(**options)


@pytest.mark.parametrize("feedback", [True, False])
def test_the_contract_of_tasks_is_kept(feedback: bool) -> None:
    task = VariableTracking(test="512:1:4:300,1024:3:2:300", feedback=feedback)
    check_task(task, solver=variable_tracking.solve).raise_if_failed()
