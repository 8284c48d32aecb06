"""Memorization has one map for everything, which no input gives away."""

import pytest
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.tasks import IGNORE, generate
from recall_bench.tasks.mad.memorization import MAD_CHANGES, MADMemorization
from recall_bench.testing import check_task


class Learner:
    """Learns the map from training examples; guesses a value that no key it knows has."""

    def __init__(self, task: MADMemorization):
        examples = generate(task, "train", 0, 0)
        asked = examples.labels != IGNORE
        keys, values = examples.inputs.roll(1, 1)[asked].tolist(), examples.labels[asked].tolist()
        self.map = dict(zip(keys, values, strict=True))
        assert all(self.map[key] == value for key, value in zip(keys, values, strict=True))
        n, values = task.alphabets()
        self.left = sorted({*range(n, n + values)} - {*self.map.values()})

    def solve(self, inputs: list[int], asked: list[int]) -> list[int]:
        return [self.map.get(inputs[at - 1], self.left[0] if self.left else -1) for at in asked]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 20), st.integers(5, 40), st.integers(0, 2**31), st.integers(0, 2**62))
def test_what_training_shows_answers_every_other_seed_and_split(
    half: int, vocab_size: int, seed: int, map_seed: int
) -> None:
    segments = {"train": f"{2 * half}:512", "test": f"{2 * half}:4"}
    task = MADMemorization(**segments, vocab_size=vocab_size, map_seed=map_seed)
    learner = Learner(task)
    if len(learner.map) == task.alphabets()[0]:
        assert_right(generate(task, "test", 0, seed), learner.solve)
    assert len(set(learner.map.values())) == len(learner.map)
    inputs = generate(task, "test", 0, seed).inputs
    assert (inputs[:, ::2] < task.alphabets()[0]).all()
    assert (inputs[:, 1::2] == vocab_size - 1).all()


def test_an_example_looks_as_it_always_has() -> None:
    examples = generate(MADMemorization(train="8:1", vocab_size=16), "train", 0, 0)
    assert examples.inputs.tolist() == [[1, 15, 6, 15, 3, 15, 3, 15]]
    assert asked_of(examples) == {1: 7, 3: 8, 5: 10, 7: 10}


def test_another_map_seed_is_another_map() -> None:
    one, two = (Learner(MADMemorization(map_seed=seed)).map for seed in (0, 1))
    assert one.keys() == two.keys()
    assert one != two


@pytest.mark.parametrize("vocab_size", [256, 2048, 4096, 8192, 4095])
def test_a_key_that_training_never_showed_lowers_the_ceiling(vocab_size: int) -> None:
    """4095 gives as many values as keys, so that the one left over is known."""
    task = MADMemorization(vocab_size=vocab_size)
    check_task(task, solver=Learner(task).solve).raise_if_failed()
    expected = {256: 1.0, 2048: 0.983, 4096: 0.865, 8192: 0.632, 4095: 0.865}[vocab_size]
    assert task.ceiling(task.test[0]) == pytest.approx(expected, abs=0.001)
    assert task.window_ceiling(task.test[0], 2) == task.ceiling(task.test[0])
    assert task.window_ceiling(task.test[0], 1) == task.chance(task.test[0])


def test_the_defaults_and_the_changes_are_mads() -> None:
    task = MADMemorization()
    assert (str(task.train[0]), str(task.test[0]), task.tokens) == ("32:256", "32:1280", 256)
    assert task.alphabets() == (127, 128)
    assert [change["vocab_size"] for change in MAD_CHANGES] == [512, 1024, 2048, 4096, 8192]
    settings = [MADMemorization(**change) for change in ({}, *MAD_CHANGES)]
    mean = sum(task.ceiling(task.test[0]) for task in settings) / len(settings)
    assert mean == pytest.approx(0.913, abs=0.001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "31:5"}, r"train segment 31:5: .*even length, got 31; 32 is nearest"),
        ({"vocab_size": 4}, r"greater than or equal to 5"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MADMemorization(**options)
