"""Fuzzy recall asks for the whole motif of every key that returns, and keys of one row agree."""

from functools import partial

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import mad_fuzzy_recall

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.mad.fuzzy_recall import MAD_CHANGES, MADFuzzyRecall
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> MADFuzzyRecall:
    key_tokens, value_tokens = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    length = 2 * (key_tokens + value_tokens) + draw(st.integers(0, 40))
    least = max(2 * key_tokens + 1, 2 * value_tokens + 2)
    return MADFuzzyRecall(
        train=f"{length}:{draw(st.integers(0, 1))}:4",
        vocab_size=least + draw(st.integers(0, 20)),
        key_tokens=key_tokens,
        value_tokens=value_tokens,
    )


def motifs(task: MADFuzzyRecall, row: list[int]) -> list[list[int]]:
    """Key, value, key, value, …"""
    found: list[list[int]] = []
    row = [token for token in row if token != task.vocab_size - 1]
    for before, token in zip([row[-1], *row], row, strict=False):
        n = task.alphabets()[0]
        if (before < n) != (token < n):
            found.append([])
        found[-1].append(token)
    return found


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_a_solver_that_cuts_the_row_into_motifs_answers_every_token(
    task: MADFuzzyRecall, seed: int
) -> None:
    examples = generate(task, "train", 0, seed)
    keys = task.alphabets()[0]
    solve = partial(mad_fuzzy_recall.solve, keys=keys, padding=task.vocab_size - 1)
    assert_right(examples, solve)
    shortest = 1 if task.train[0].short_keys else task.key_tokens
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        padding = row.count(task.vocab_size - 1)
        assert all(token == task.vocab_size - 1 for token in row[:padding])
        assert padding < 2 * (task.key_tokens + task.value_tokens)
        parts = motifs(task, row)
        assert all(len(set(part)) == len(part) for part in parts)
        assert all(shortest <= len(key) <= task.key_tokens for key in parts[::2])
        assert all(1 <= len(value) <= task.value_tokens for value in parts[1::2])
        value_of: dict[tuple[int, ...], list[int]] = {}
        asked, at = 0, padding
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            at += len(key) + len(value)
            if tuple(key) in value_of:
                assert value_of[tuple(key)] == value
                assert labels[at - 1 - len(value) : at - 1] == value
                asked += len(value)
            value_of[tuple(key)] = value
        assert asked == sum(label != IGNORE for label in labels)


def test_an_example_looks_as_it_always_has() -> None:
    examples = generate(MADFuzzyRecall(train="24:1:1", vocab_size=8), "train", 0, 0)
    assert examples.inputs.tolist() == [
        [7, 7, 7, 7, 7, 7, 7, 0, 3, 6, 1, 4, 6, 2, 1, 5, 4, 6, 0, 3, 6, 0, 3, 6]
    ]
    assert asked_of(examples) == {18: 3, 19: 6, 21: 3, 22: 6}


def test_an_answer_is_one_value() -> None:
    examples = generate(MADFuzzyRecall(train="24:1:1", vocab_size=8), "train", 0, 0)
    answer = examples.slices["answer"]
    assert isinstance(answer, torch.Tensor)
    numbers = answer[examples.labels != IGNORE].tolist()
    assert numbers == [3, 3, 4, 4]


def test_lengths_of_motifs_are_uniform_in_training_and_longest_for_keys_in_the_test() -> None:
    task = MADFuzzyRecall()
    for split, sizes in (("train", [1, 2, 3]), ("test", [3])):
        rows = generate(task, split, 0, 0, stop=512).inputs.tolist()  # type: ignore[arg-type]
        parts = [motifs(task, row)[:8] for row in rows]
        for start, expected in ((0, sizes), (1, [1, 2, 3])):
            lengths = torch.tensor([len(part) for row in parts for part in row[start::2]])
            shares = lengths.bincount(minlength=4)[1:] / len(lengths)
            for size in (1, 2, 3):
                share = (size in expected) / len(expected)
                assert shares[size - 1].item() == pytest.approx(share, abs=0.03)


def test_motifs_are_uniform_over_sequences_without_repeats() -> None:
    task = MADFuzzyRecall(train="12:0:4000", vocab_size=7, key_tokens=2, value_tokens=2)
    keys = [motifs(task, row)[0] for row in generate(task, "train", 0, 0).inputs.tolist()]
    counts = torch.tensor([3 * a + b for a, b in keys]).bincount(minlength=9)
    assert counts[[0, 4, 8]].sum() == 0
    assert ((counts[[1, 2, 3, 5, 6, 7]] / 4000 - 1 / 6).abs() < 0.025).all()


def test_the_defaults_and_the_changes_are_mads() -> None:
    task = MADFuzzyRecall()
    assert (str(task.train[0]), str(task.test[0])) == ("128:1:12800", "128:0:1280")
    assert (task.tokens, task.alphabets()) == (16, (7, 8))
    changed = [MADFuzzyRecall(**change) for change in MAD_CHANGES]
    assert [task.vocab_size for task in changed[:3]] == [32, 64, 128]
    assert [(task.train[0].length, str(task.test[0])) for task in changed[3:6]] == [
        (256, "256:0:1280"),
        (512, "512:0:1280"),
        (1024, "1024:0:1280"),
    ]
    assert [str(task.train[0]) for task in changed[6:]] == [
        "128:1:6400",
        "128:1:3200",
        "128:1:1600",
        "128:1:800",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "11:1:5"}, r"train segment 11:1:5: .*got 11 < 2 \* \(3 \+ 3\) = 12"),
        ({"test": "64:2:5"}, r"less than or equal to 1"),
        ({"vocab_size": 8, "key_tokens": 4}, r"Expected key_tokens <= 3, got 4; vocab_size 8"),
        ({"vocab_size": 6}, r"Expected key_tokens <= 2, got 3"),
        ({"vocab_size": 8, "value_tokens": 4}, r"Expected value_tokens <= 3, got 4"),
        ({"vocab_size": 128, "key_tokens": 8}, r"Expected 64\^key_tokens < 2\^44, got 64\^8"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MADFuzzyRecall(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    solve = partial(mad_fuzzy_recall.solve, keys=7, padding=15)
    check_task("mad-fuzzy-recall", solver=solve).raise_if_failed()
