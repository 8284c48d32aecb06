"""N-gram lookup asks for what follows an n-gram that occurs once."""

import pytest
import torch
from answering import asked_of, assert_right
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import ngram_lookup
from solving import assert_windows_reach, made, on

from recall_bench.tasks.recall.ngram_lookup import NgramLookup
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> NgramLookup:
    """One segment that fits, the tightest geometries and alphabets included."""
    ngram, answer = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    shortest = ngram + answer + draw(st.integers(0, 6))
    longest = shortest + draw(st.integers(0, 6))
    fewest = next(size for size in range(2, 30) if longest - ngram <= size**ngram)
    return on(
        NgramLookup,
        f"{longest + ngram + answer + 2}:{shortest}:5",
        key=draw(st.sampled_from(["suffix", "prefix"])),
        alphabet=fewest + draw(st.integers(0, 10)),
        ngram=ngram,
        answer=answer,
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_a_search_in_the_string_answers_every_example(task: NgramLookup, seed: int) -> None:
    segment, examples = task.train[0], made(task, seed)
    assert_right(examples, ngram_lookup.solve)
    A, n, m = task.alphabet, task.ngram, task.answer
    for index, row in enumerate(examples.inputs.tolist()):
        marks = [at for at, token in enumerate(row) if token == A + 1]
        size = marks[0] - 1 if task.key == "suffix" else marks[1] - n - 2
        assert segment.shortest <= size <= task.longest(segment)
        assert row[0] == A
        letters, marks_and_padding = size + n + m - 1, segment.length - size - n - m + 1
        assert sum(token < A for token in row) == letters
        assert sum(token >= A for token in row) == marks_and_padding
        asked = sorted(asked_of(examples, index))
        assert asked == list(range(asked[0], asked[0] + m))
        assert all(token == A + 2 for token in row[asked[-1] + 1 :])


def test_examples_look_as_they_always_have() -> None:
    options = {"alphabet": 6, "ngram": 2, "answer": 2}
    suffix = made(on(NgramLookup, "14:7:1", **options))
    assert suffix.inputs.tolist() == [[6, 3, 4, 1, 0, 3, 1, 2, 1, 7, 4, 1, 0, 8]]
    assert asked_of(suffix) == {11: 0, 12: 3}
    prefix = made(on(NgramLookup, "14:7:1", key="prefix", **options))
    assert prefix.inputs.tolist() == [[6, 4, 1, 7, 3, 4, 1, 0, 3, 1, 2, 1, 7, 0]]
    assert asked_of(prefix) == {12: 0, 13: 3}


def test_every_place_is_as_likely_for_the_ngram_as_any_other() -> None:
    task = on(NgramLookup, "20:10:5000", key="prefix")
    inputs = made(task).inputs
    string = inputs[:, 5:15]
    starts = (string.unfold(1, 3, 1) == inputs[:, None, 1:4]).all(2).double()  # (B, 8)
    assert torch.allclose(starts.mean(0)[:3], torch.tensor(1 / 3).double(), atol=0.03)


@pytest.mark.parametrize("segment", ["60:20:2000", "42:32:2000"])
def test_a_window_reaches_the_answers_it_holds(segment: str) -> None:
    task = on(NgramLookup, segment)
    assert_windows_reach(task, task.train[0], made(task), guess=1 / 26)


def test_strings_have_the_same_lengths_whichever_the_key() -> None:
    for key in ("suffix", "prefix"):
        task = NgramLookup(key=key)
        assert (task.train[0].shortest, task.longest(task.train[0])) == (20, 50)
        for segment in task.test:
            assert segment.shortest == task.longest(segment)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "29:20:5"}, r"29:20:5: .*got 20 \+ 3 \+ 5 \+ 2 = 30 > 29"),
        ({"answer": 18, "test": "99:20:5"}, r"ngram \+ answer <= shortest, got 3 \+ 18 > 20"),
        ({"alphabet": 3}, r"hardly any 3-gram occurs once in 50 letters. .* got 47 > 27"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NgramLookup(**options)


@pytest.mark.parametrize("key", ["suffix", "prefix"])
def test_the_contract_of_tasks_is_kept(key: str) -> None:
    task = on(NgramLookup, "30:12:40,40:30:40", key=key)
    check_task(task, solver=ngram_lookup.solve).raise_if_failed()
