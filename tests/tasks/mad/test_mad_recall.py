"""MAD's plain and noisy recall ask for the value of every key that returns, and of no other."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import mad_recall
from solving import assert_windows_reach

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.mad.recall import (
    MAD_CHANGES,
    MAD_NOISY_CHANGES,
    MADInContextRecall,
    MADNoisyRecall,
)
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> MADInContextRecall | MADNoisyRecall:
    length, vocab_size = 2 * draw(st.integers(2, 20)), draw(st.integers(3, 30))
    if draw(st.booleans()):
        return MADInContextRecall(train=f"{length}:4", vocab_size=vocab_size)
    noise = draw(st.integers(1, 9))
    segment = f"{length}:{draw(st.sampled_from([0.0, 0.2, 0.95]))}:4"
    return MADNoisyRecall(train=segment, vocab_size=vocab_size + noise, noise_tokens=noise)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_every_key_that_returns_is_asked_for_and_can_be_looked_up(
    task: MADInContextRecall | MADNoisyRecall, seed: int
) -> None:
    examples = generate(task, "train", 0, seed)
    assert_right(examples, mad_recall.solve)
    keys, values, _ = task.alphabets()
    for row, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        first = row[::2]
        returns = {2 * at for at, key in enumerate(first) if key < keys and key in first[:at]}
        assert {at for at, label in enumerate(labels) if label != IGNORE} == returns
        assert max(returns) == len(row) - 2
        for key, value in zip(first, row[1::2], strict=True):
            assert (key < keys) == (keys <= value < keys + values)
            assert (key >= keys + values) == (value >= keys + values)


def test_an_example_looks_as_it_always_has() -> None:
    plain = generate(MADInContextRecall(train="16:1", vocab_size=8), "train", 0, 0)
    assert plain.inputs.tolist() == [[1, 5, 1, 5, 0, 6, 0, 6, 1, 5, 2, 7, 2, 7, 0, 6]]
    assert asked_of(plain) == {2: 5, 6: 6, 8: 5, 12: 7, 14: 6}
    noisy = generate(MADNoisyRecall(train="20:0.4:1", vocab_size=12, noise_tokens=4), "train", 0, 0)
    assert noisy.inputs.tolist() == [
        [10, 9, 10, 10, 0, 7, 0, 7, 1, 5, 2, 4, 10, 8, 0, 7, 2, 4, 1, 5]
    ]
    assert asked_of(noisy) == {6: 7, 14: 7, 16: 4, 18: 5}


def test_the_map_from_keys_to_values_is_drawn_for_every_row() -> None:
    inputs = generate(MADInContextRecall(train="128:512"), "train", 0, 0).inputs
    values = torch.stack([inputs[:, 1::2][inputs[:, ::2] == key].bincount() for key in range(8)])
    share = values[:, 8:] / values.sum(1, keepdim=True)
    assert (share - 1 / 8).abs().max() < 0.05


def test_noise_takes_its_share_of_the_pairs() -> None:
    inputs = generate(MADNoisyRecall(train="128:0.6:512"), "train", 0, 0).inputs
    assert (inputs[:, :-2] >= 16).double().mean() == pytest.approx(0.6 * 62 / 63, abs=0.01)


def test_the_last_key_is_any_of_those_shown_equally_often() -> None:
    """Of the keys 0 and 1, one of which was shown twice and the other once."""
    inputs = generate(MADInContextRecall(train="8:4000", vocab_size=4), "train", 0, 0).inputs
    mixed = inputs[inputs[:, 0:6:2].sum(1) == 1]  # 0 twice, 1 once
    assert mixed[:, 6].double().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("task", [MADInContextRecall(), MADNoisyRecall()])
def test_a_window_reaches_the_queries_whose_gap_it_covers(
    task: MADInContextRecall | MADNoisyRecall,
) -> None:
    segment = task.test[0]
    assert_windows_reach(task, segment, generate(task, "test", 0, 0), task.chance(segment))


def test_the_defaults_and_the_changes_are_mads() -> None:
    task, noisy = MADInContextRecall(), MADNoisyRecall()
    assert (str(task.train[0]), str(task.test[0]), task.tokens) == ("128:12800", "128:1280", 16)
    assert (str(noisy.train[0]), noisy.tokens) == ("128:0.2:12800", 32)
    assert noisy.alphabets() == (8, 8, 16)
    plain = [MADInContextRecall(**change) for change in MAD_CHANGES]
    assert [task.vocab_size for task in plain[:3]] == [32, 64, 128]
    assert [task.test[0].length for task in plain[3:6]] == [256, 512, 1024]
    assert [task.train[0].examples for task in plain[6:]] == [6400, 3200, 1600, 800]
    changed = [MADNoisyRecall(**change) for change in MAD_NOISY_CHANGES]
    assert [task.alphabets()[1] for task in changed[:3]] == [16, 32, 64]
    assert [task.test[0].noise for task in changed[10:]] == [0.4, 0.6, 0.8]


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (MADInContextRecall, {"train": "127:5"}, r"train segment 127:5: .*got 127; 128 is the"),
        (MADInContextRecall, {"test": "2:5"}, r"length >= 4, got 2; 4 is the nearest"),
        (MADInContextRecall, {"vocab_size": 2}, r"greater than or equal to 3"),
        (MADNoisyRecall, {"train": "128:1.0:5"}, r"less than 1"),
        (MADNoisyRecall, {"noise_tokens": 30}, r"30 \+ 3 = 33 > 32; at most 29 noise_tokens"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    build: type, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize("name", ["mad-in-context-recall", "mad-noisy-recall"])
def test_the_contract_of_tasks_is_kept(name: str) -> None:
    check_task(name, solver=mad_recall.solve).raise_if_failed()
