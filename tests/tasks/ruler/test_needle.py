"""Needles can be found by reading the haystack, wherever and among whatever they lie."""

from functools import partial
from typing import Any

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import needle

from recall_bench.tasks import IGNORE, Examples, generate
from recall_bench.tasks.ruler.needle import SETTINGS, Needle
from recall_bench.testing import check_task


def solver_of(task: Needle) -> partial[list[int]]:
    return partial(needle.solve, key_tokens=task.key_tokens, value_tokens=task.value_tokens)


def task_of(segment: str, **options: Any) -> Needle:
    return Needle(train=segment, validation=segment, test=segment, **options)


@st.composite
def tasks(draw: st.DrawFn) -> Needle:
    kt, vt, queries = (draw(st.integers(1, 3)) for _ in range(3))
    keys, values = queries + draw(st.integers(0, 3)), draw(st.integers(1, 3))
    haystack = draw(st.sampled_from(["repeat", "random", "needles"]))
    length = keys * values * (1 + kt + vt) + queries * (1 + kt + values * vt) - 1
    length += draw(st.integers(0, 40))
    return task_of(
        f"{length}:{keys}:{values}:{queries}:{draw(st.sampled_from([-1, 0, 30, 100]))}:3",
        haystack=haystack,
        key_symbols=draw(st.integers(64, 90)) if kt == 1 else 9,
        key_tokens=kt,
        value_symbols=draw(st.integers(2, 5)),
        value_tokens=vt,
        filler_symbols=draw(st.integers(1, 30)),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_reading_the_haystack_answers_every_question(task: Needle, seed: int) -> None:
    segment, examples = task.train[0], generate(task, "train", 0, seed)
    assert_right(examples, solver_of(task))
    tokens = segment.queries * segment.values * task.value_tokens
    assert ((examples.labels != IGNORE).sum(1) == tokens).all()
    needles = (examples.inputs == 0).sum(1)
    if task.haystack != "needles":
        assert (needles == segment.keys * segment.values).all()
    assert (needles >= segment.keys * segment.values).all()
    assert ((examples.inputs == 1).sum(1) == segment.queries).all()


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_of_ruler_can_be_solved(setting: str) -> None:
    task = Needle(**SETTINGS[setting])
    for index in (0, 3):
        assert_right(generate(task, "test", index, 0, stop=2), solver_of(task))


def test_an_example_looks_as_it_always_has() -> None:
    task = task_of("32:2:2:1:-1:1", key_symbols=4, value_tokens=2, filler_symbols=3)
    examples = generate(task, "train", 0, 0)
    assert examples.inputs.tolist() == [
        [
            17,
            17,
            17,
            16,
            18,
            17,
            17,
            17,
            0,
            5,
            15,
            7,
            0,
            5,
            11,
            13,
            17,
            18,
            0,
            3,
            14,
            7,
            0,
            3,
            13,
            9,
            16,
            1,
            3,
            14,
            7,
            13,
        ]
    ]
    assert asked_of(examples) == {28: 14, 29: 7, 30: 13, 31: 9}


def test_a_haystack_of_needles_has_no_room_for_another_one() -> None:
    task = Needle(**SETTINGS["multikey-2"])
    inputs = generate(task, "train", 0, 0, stop=4).inputs
    assert ((inputs == 0).sum(1) == (512 + 1 - 9) // 9).all()
    keys = inputs[0, 1:][inputs[0, :-1] == 0].tolist()
    assert len(set(keys)) == len(keys)


def test_a_haystack_that_repeats_is_one_sentence() -> None:
    task = task_of("200:1:1:1:100:1", haystack="repeat", filler_symbols=30)
    inputs = generate(task, "train", 0, 0).inputs[0]
    assert torch.equal(inputs[:160], inputs[:20].repeat(8))


def places(examples: Examples) -> torch.Tensor:
    """Where the only needle stands in each row."""
    return (examples.inputs == 0).int().argmax(1)


def test_depth_is_where_the_needle_stands() -> None:
    for depth, expected in ((0, 0), (50, 41), (100, 82)):
        examples = generate(task_of(f"99:1:1:1:{depth}:4"), "train", 0, 0)
        assert places(examples).tolist() == [expected] * 4
        slices = examples.slices["depth"]
        assert isinstance(slices, torch.Tensor)
        assert (slices[examples.labels != IGNORE] == expected * 10 // 91 * 10).all()
    anywhere = places(generate(task_of("99:1:1:1:-1:4000"), "train", 0, 0))
    shares = anywhere.bincount(minlength=83) / 4000
    assert (shares - 1 / 83).abs().max() < 0.01


def test_values_of_one_key_are_asked_in_the_order_in_which_they_stand() -> None:
    examples = generate(task_of("64:1:3:1:-1:1", value_tokens=1, value_symbols=5), "train", 0, 0)
    at = (examples.inputs[0, :-4] == 0).nonzero().flatten()
    assert list(asked_of(examples).values()) == examples.inputs[0, at + 2].tolist()
    answer = examples.slices["answer"]
    assert isinstance(answer, torch.Tensor)
    assert answer[examples.labels != IGNORE].tolist() == [0, 1, 2]


def test_the_gap_is_how_large_a_window_holds_the_token_asked_for() -> None:
    task = task_of("99:1:1:1:-1:300", value_tokens=1)
    examples = generate(task, "train", 0, 0)
    gap = examples.slices["gap"]
    assert isinstance(gap, torch.Tensor)
    back = 98 - (places(examples) + 2) + 1  # the label stands at 98
    assert (gap[:, 98] >= back).all()
    assert (gap[:, 98] < 2 * back).all()
    share = (back <= 40).double().mean().item()
    assert task.window_ceiling(task.train[0], 40) == pytest.approx(
        share + (1 - share) / 10, abs=0.09
    )


def test_long_keys_differ_in_a_row() -> None:
    task = task_of("730:16:1:1:-1:4", key_symbols=2, key_tokens=41, value_tokens=1)
    inputs = generate(task, "train", 0, 0).inputs
    for row in inputs.tolist():
        keys = {tuple(row[at + 1 : at + 42]) for at, token in enumerate(row) if token == 0}
        assert len(keys) == 16


def test_the_settings_are_rulers() -> None:
    tasks = {name: Needle(**options) for name, options in SETTINGS.items()}
    knobs = {
        name: (
            task.haystack,
            task.key_tokens,
            task.value_tokens,
            *str(task.test[0]).split(":")[1:4],
        )
        for name, task in tasks.items()
    }
    assert knobs == {
        "single-1": ("repeat", 1, 7, "1", "1", "1"),
        "single-2": ("random", 1, 7, "1", "1", "1"),
        "single-3": ("random", 1, 32, "1", "1", "1"),
        "multikey-1": ("random", 1, 7, "4", "1", "1"),
        "multikey-2": ("needles", 1, 7, "1", "1", "1"),
        "multikey-3": ("needles", 32, 32, "1", "1", "1"),
        "multivalue": ("random", 1, 7, "1", "4", "1"),
        "multiquery": ("random", 1, 7, "4", "1", "4"),
    }
    assert all(
        (task.test[-1].length, task.test[-1].examples) == (4096, 500) for task in tasks.values()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "64:2:1:3:-1:5"}, r"train segment .*queries <= keys, got 3 > 2"),
        (
            {"test": "16:1:1:1:-1:5"},
            r"got 1 \* 1 \* 9 = 9 > 17 - 1 \* 9 = 8; a length of 17 is enough",
        ),
        ({"train": "64:3:1:1:-1:5", "key_symbols": 2}, r"key_tokens = 2\^1, got 3"),
        ({"haystack": "needles", "key_symbols": 8}, r"key_symbols\^key_tokens = 8\^1, got 56"),
        ({"train": "64:1:1:1:-2:5"}, r"greater than or equal to -1"),
        ({"haystack": "essay"}, r"'repeat', 'random' or 'needles'"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Needle(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    task = Needle(test="512:4:2:2:-1:300,1024:1:1:1:50:300")
    check_task(task, solver=solver_of(task)).raise_if_failed()
