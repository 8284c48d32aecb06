"""Common words and frequent words can be told by counting, and only by counting."""

from collections import Counter
from typing import Any

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import word_counts

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.ruler.word_counts import CommonWords, FrequentWords
from recall_bench.testing import check_task


def common_of(segment: str, **options: Any) -> CommonWords:
    return CommonWords(train=segment, validation=segment, test=segment, **options)


def frequent_of(segment: str, **options: Any) -> FrequentWords:
    return FrequentWords(train=segment, validation=segment, test=segment, **options)


@st.composite
def common_tasks(draw: st.DrawFn) -> CommonWords:
    common, seldom = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    often = seldom + draw(st.integers(1, 5))
    others, rest = draw(st.integers(1, 10)), draw(st.integers(0, seldom - 1))
    length = common * (often + 1) + others * seldom + rest
    words = max(common + others + draw(st.integers(0, 90)), 3)
    return common_of(f"{length}:{common}:{often}:{seldom}:4", words=words)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(common_tasks(), st.integers(0, 2**31))
def test_counting_tells_the_common_words(task: CommonWords, seed: int) -> None:
    segment, examples = task.train[0], generate(task, "train", 0, seed)
    assert_right(examples, word_counts.common)
    for inputs, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        counts, end = word_counts.counted(inputs)
        assert set(counts.values()) == {segment.often, segment.seldom}
        assert sum(times == segment.often for times in counts.values()) == segment.common
        assert inputs[:end].count(0) < segment.seldom
        assert inputs[end + 1 :] == labels[end:-1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 4), st.integers(0, 60), st.sampled_from([1.2, 2.0, 3.0]), st.integers(0, 2**31)
)
def test_counting_tells_the_frequent_words(asked: int, spare: int, alpha: float, seed: int) -> None:
    length = {1.2: 200, 2.0: 120, 3.0: 400}[alpha] + spare
    task = frequent_of(f"{length}:{asked}:4", words=200, alpha=alpha)
    examples = generate(task, "train", 0, seed)
    assert_right(examples, word_counts.frequent)
    for inputs, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        counts, end = word_counts.counted(inputs)
        assert sorted(counts.values(), reverse=True) == task.counts(task.train[0])
        assert end == length - asked
        assert inputs[end + 1 :] == labels[end:-1]


def test_examples_look_as_they_always_have() -> None:
    common = generate(common_of("32:3:4:2:1", words=12), "train", 0, 0)
    assert common.inputs.tolist() == [
        [
            0,
            9,
            3,
            13,
            5,
            12,
            8,
            12,
            9,
            3,
            3,
            10,
            11,
            10,
            5,
            13,
            3,
            7,
            11,
            10,
            13,
            4,
            13,
            4,
            7,
            10,
            2,
            2,
            8,
            1,
            3,
            10,
        ]
    ]
    assert asked_of(common) == {29: 3, 30: 10, 31: 13}
    frequent = generate(frequent_of("60:2:1", words=12), "train", 0, 0)
    assert frequent.inputs.tolist() == [
        [
            0,
            0,
            0,
            0,
            0,
            3,
            0,
            13,
            0,
            0,
            0,
            0,
            10,
            0,
            0,
            10,
            0,
            0,
            0,
            0,
            3,
            0,
            0,
            0,
            0,
            0,
            13,
            0,
            10,
            0,
            0,
            0,
            0,
            0,
            0,
            10,
            0,
            10,
            0,
            8,
            0,
            0,
            0,
            10,
            0,
            10,
            0,
            0,
            0,
            0,
            0,
            10,
            0,
            0,
            0,
            0,
            0,
            3,
            1,
            10,
        ]
    ]
    assert asked_of(frequent) == {58: 10, 59: 3}


def test_counts_follow_the_zeta_distribution() -> None:
    """1000 / k^2 / (pi^2 / 6), rounded down, from the second rank on; the first is noise."""
    task = frequent_of("1003:3:1")
    counts = task.counts(task.train[0])
    assert counts[:6] == [151, 67, 37, 24, 16, 12]
    assert counts[-1] == 1
    assert len(counts) == 23
    inputs = generate(task, "train", 0, 0).inputs[0, :1000]
    assert (inputs == 0).sum() == 1000 - sum(counts)


def test_every_order_of_the_list_is_equally_likely() -> None:
    inputs = generate(common_of("6:1:3:1:6000", words=3), "train", 0, 0).inputs
    rows = inputs[(inputs[:, :5] == 2).sum(1) == 3]  # word 2 is the common one
    counts = Counter(tuple(row) for row in rows[:, :5].tolist())
    assert len(counts) == 20  # 5! / 3!
    assert all(abs(times / len(rows) - 1 / 20) < 0.02 for times in counts.values())


def test_the_likeliest_word_at_each_place_is_what_guessing_gets() -> None:
    task = common_of("40:4:5:1:20000", words=25)
    labels = generate(task, "train", 0, 0).labels[:, 36:]
    best = [labels[:, at].bincount().max().item() / 20_000 for at in range(4)]
    assert task.chance(task.train[0]) == pytest.approx(sum(best) / 4, abs=0.01)


def test_the_defaults_are_rulers() -> None:
    assert str(CommonWords().test[-1]) == "4096:10:30:3:500"
    assert str(FrequentWords().test[-1]) == "4096:3:500"
    assert FrequentWords().alpha == 2


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (CommonWords, {"train": "512:10:3:3:5"}, r"expected seldom < often, got 3 >= 3"),
        (CommonWords, {"test": "300:10:30:3:5"}, r"got 10 \* 30 \+ 3 \+ 10 = 313 > 300"),
        (CommonWords, {"words": 64}, r"10 \+ 202 // 3 = 77 > 64"),
        (
            FrequentWords,
            {"train": "60:5:5"},
            r"would be a tie.* got \[8, 3, 2, 1, 0\] at alpha 2.0 in 55 tokens",
        ),
        (FrequentWords, {"train": "3:3:5"}, r"length > asked, got 3 <= 3"),
        (FrequentWords, {"words": 10}, r"too few words. Expected words >= 16, got 10"),
        (FrequentWords, {"alpha": 1.0}, r"greater than 1"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    build: type, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    test = "512:10:30:3:300,1024:10:6:1:300"
    check_task(CommonWords(test=test), solver=word_counts.common).raise_if_failed()
    test = "512:3:300,1024:5:300"
    check_task(FrequentWords(test=test), solver=word_counts.frequent).raise_if_failed()


def test_all_words_are_one_answer() -> None:
    for task in (CommonWords(), FrequentWords()):
        examples = generate(task, "train", 0, 0, stop=2)
        assert "answer" not in examples.slices
        assert isinstance(examples.labels, torch.Tensor)
        assert ((examples.labels != IGNORE).sum(1) == task.asked(task.train[0])).all()
