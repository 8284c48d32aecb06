from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.documents.packing import (
    bigram_counts,
    prompt_row,
    repeated,
    window,
    windows,
)

quick = settings(max_examples=60, deadline=None, derandomize=True)


@quick
@given(
    size=st.integers(1, 60),
    room=st.integers(1, 60),
    place=st.tuples(st.integers(0, 59), st.integers(1, 8)),
    share=st.floats(0, 1, exclude_max=True),
)
def test_a_window_holds_the_answer_and_as_much_as_fits(
    size: int, room: int, place: tuple[int, int], share: float
) -> None:
    first = min(place[0], size - 1)
    after = min(first + place[1], size)
    if after - first > room:
        with pytest.raises(ValueError, match="Expected at most"):
            window(size, room, (first, after), share)
        return
    start, stop = window(size, room, (first, after), share)
    assert 0 <= start <= first < after <= stop <= size
    assert stop - start == min(size, room)


def test_the_answer_lies_in_the_middle_of_what_is_kept() -> None:
    start, stop = window(1000, 100, (500, 510), 0.5)
    assert (500 - start, stop - 510) == (45, 45)
    assert window(1000, 100, (10, 20), 0.5) == (0, 100)
    assert window(1000, 100, (990, 995), 0.5) == (900, 1000)


@quick
@given(
    document=st.lists(st.integers(1, 9), max_size=20),
    ending=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    answer=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    more=st.integers(0, 10),
)
def test_a_row_is_padding_document_ending_and_answer(
    document: list[int], ending: list[int], answer: list[int], more: int
) -> None:
    used = document + ending + answer
    row, at = prompt_row(document, ending, answer, len(used) + more, 0)
    assert row.tolist() == [0] * (more + 1) + used
    assert row[at:].tolist() == answer


@quick
@given(size=st.integers(0, 50), length=st.integers(1, 12))
def test_every_token_of_a_text_but_the_first_and_a_rest_is_asked_once(
    size: int, length: int
) -> None:
    text = np.arange(size, dtype=np.int32)
    rows = windows(text, length)
    assert rows.shape[1] == length + 1
    assert rows[:, 1:].flatten().tolist() == list(range(1, len(rows) * length + 1))
    assert (rows[:, :-1].flatten() == rows[:, 1:].flatten() - 1).all()
    assert 0 <= size - 1 - len(rows) * length < length or size == 0


@quick
@given(
    rows=st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=4),
    training=st.lists(st.integers(0, 3), max_size=30),
)
def test_repeated_and_counted_bigrams_are_those_that_a_loop_finds(
    rows: list[list[int]], training: list[int]
) -> None:
    again = repeated(np.array(rows, np.int32))
    counts = bigram_counts(np.array(rows, np.int32), np.array(training, np.int32))
    for row, tokens in enumerate(rows):
        pairs = list(pairwise(tokens))
        for at, pair in enumerate(pairs):
            assert again[row, at] == (pair in pairs[:at])
            assert counts[row, at] == list(pairwise(training)).count(pair)
