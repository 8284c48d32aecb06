"""Answers of several tokens count as exact matches only where every token is right."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recall_bench.config import RunConfig
from recall_bench.store.record import SegmentScore
from recall_bench.tasks import EACH_TOKEN, SPLITS
from recall_bench.training.scores import exact_match, with_limits


def by_hand(correct: list, asked: list, answer: list) -> float:
    """The same, example by example."""
    shares = []
    for row in zip(correct, asked, answer, strict=True):
        answers: dict[int, bool] = {}
        for right, present, number in zip(*row, strict=True):
            if present:
                answers[number] = answers.get(number, True) and right
        shares.append(sum(answers.values()) / len(answers))
    return sum(shares) / len(shares)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.data())
def test_exact_match_is_the_share_of_answers_that_are_right_throughout(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    table = st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=rows)
    correct, asked = (data.draw(table)[:rows] for _ in range(2))
    for row in asked:
        row[0] = True
    answer = [[data.draw(st.integers(-1, 2)) for _ in range(width)] for _ in range(rows)]
    found = exact_match(torch.tensor(correct), torch.tensor(asked), torch.tensor(answer))
    assert found == pytest.approx(by_hand(correct, asked, answer))
    whole = exact_match(torch.tensor(correct), torch.tensor(asked), 0)
    each = exact_match(torch.tensor(correct), torch.tensor(asked), EACH_TOKEN)
    assert each == pytest.approx(by_hand(correct, asked, [list(range(width))] * rows))
    one = [[0] * width] * rows
    assert whole == pytest.approx(by_hand(correct, asked, one))


def test_scores_carry_what_guessing_and_no_model_reach() -> None:
    segments = "16:2:8,16:4:8"
    config = RunConfig(
        task={"name": "mqar", "vocab_size": 64} | dict.fromkeys(SPLITS, segments),
        architecture={"name": "attention"},
    )
    score = {"length": 16, "options": {}, "examples": 8, "accuracy": 0.5, "loss": 1.0}
    scores = [SegmentScore(split=split, **score) for split in ("validation", "test") * 2]
    limited = with_limits(scores, config)
    assert [one.split for one in limited] == ["validation"] * 2 + ["test"] * 2
    assert {(one.chance, one.ceiling, one.window_ceiling) for one in limited} == {
        (1 / 32, 1.0, None)
    }


def test_records_from_before_limits_were_kept_still_load() -> None:
    old = {"split": "test", "length": 8, "options": {}, "examples": 1, "accuracy": 1, "loss": 0}
    assert SegmentScore(**old).exact_match is None
