"""Strings of an example are walks of one automaton, which says how certain a next symbol is."""

import random
from fractions import Fraction

import pytest
import torch
from answering import asked_of
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import in_context_language
from solving import made, on

from recall_bench.tasks import IGNORE
from recall_bench.tasks.base import block_seed
from recall_bench.tasks.recall.in_context_language import InContextLanguage
from recall_bench.testing import check_task


@st.composite
def tasks(draw: st.DrawFn) -> InContextLanguage:
    branches = draw(st.integers(1, 4))
    fewest_symbols = branches + draw(st.integers(0, 3))
    fewest_states = branches + 1 + draw(st.integers(0, 3))
    fewest = draw(st.integers(2, 4))
    return on(
        InContextLanguage,
        f"{draw(st.integers(2, 40))}:{fewest}:{fewest + draw(st.integers(0, 4))}:5",
        symbols=fewest_symbols + draw(st.integers(0, 6)),
        fewest_symbols=fewest_symbols,
        states=fewest_states + draw(st.integers(0, 6)),
        fewest_states=fewest_states,
        branches=branches,
        string=draw(st.integers(1, 12)),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(tasks(), st.integers(0, 2**31))
def test_strings_are_walks_of_an_automaton_drawn_for_the_row(
    task: InContextLanguage, seed: int
) -> None:
    segment, examples = task.train[0], made(task, seed)
    generator = torch.Generator().manual_seed(block_seed(seed, "train", 0, 0))
    symbols, targets, degree = (part.tolist() for part in task.automata(256, generator))
    branching, seen = examples.slices["branching"], examples.slices["seen"]
    assert isinstance(branching, torch.Tensor)
    assert isinstance(seen, torch.Tensor)
    separator, padding = task.symbols, task.symbols + 1
    for index, row in enumerate(examples.inputs.tolist()):
        labels = examples.labels[index].tolist()
        state, string = 0, 1
        for at, token in enumerate(row):
            before = state
            if token == separator:
                state, string = 0, string + 1
            elif token < separator:
                allowed = symbols[index][state][: degree[index][state]]
                assert len(set(allowed)) == len(allowed)
                state = targets[index][state][allowed.index(token)]
                assert state != before
            if labels[at] != IGNORE:
                allowed = symbols[index][state][: degree[index][state]]
                assert labels[at] in allowed
                assert branching[index, at] == len(allowed)
                assert seen[index, at] == string
                assert at + 1 == len(row) or row[at + 1] == labels[at]
            else:
                assert at + 1 == len(row) or row[at + 1] in (separator, padding)
        strings = " ".join(map(str, row)).split(f" {padding}")[0].split(f" {separator} ")
        assert len(strings) <= segment.most
        assert padding not in row or len(strings) >= segment.fewest
        assert all(1 <= len(one.split()) <= task.string + 1 for one in strings)


def test_an_example_looks_as_it_always_has() -> None:
    options = {"symbols": 5, "fewest_symbols": 4, "states": 5, "string": 6}
    examples = made(on(InContextLanguage, "18:3:4:1", **options))
    strings = [0, 4, 2, 5, 0, 4, 2, 4, 5, 2, 1]
    assert examples.inputs.tolist() == [strings + [6] * 7]
    assert asked_of(examples) == {0: 4, 1: 2, 3: 0, 4: 4, 5: 2, 6: 4, 8: 2, 9: 1}


def test_automata_have_the_sizes_they_are_asked_for() -> None:
    task = InContextLanguage()
    symbols, targets, degree = task.automata(4000, torch.Generator().manual_seed(1))
    reached = targets.flatten(1).amax(1)  # with 36 edges the last state is hardly ever missed
    assert set(reached.tolist()) == set(range(3, 12))
    assert torch.bincount(degree.flatten())[1:].double() / degree.numel() == pytest.approx(
        [1 / 3] * 3, abs=0.01
    )
    assert torch.bincount(symbols.flatten()).double() / symbols.numel() == pytest.approx(
        [1 / 18] * 18, abs=0.01
    )
    alphabets = torch.zeros(4000, 18).scatter_(1, symbols.flatten(1), 1).sum(1)
    assert alphabets.min() >= 4
    assert alphabets.max() == 18


def test_a_state_chooses_evenly_among_its_symbols() -> None:
    task = on(
        InContextLanguage, "4:2:2:6000", symbols=3, fewest_symbols=3, fewest_states=4, states=4
    )
    labels, branching = made(task).labels, made(task).slices["branching"]
    assert isinstance(branching, torch.Tensor)
    generator = torch.Generator().manual_seed(block_seed(0, "train", 0, 0))
    symbols, _, degree = task.automata(256, generator)
    first = made(task).inputs[:256, 0]
    for size in (2, 3):
        rows = degree[:, 0] == size
        rank = (symbols[rows, 0, :size] == first[rows, None]).double().mean(0)
        assert rank.tolist() == pytest.approx([1 / size] * size, abs=0.15)
    assert (labels != IGNORE).any(1).all()


def test_the_ceiling_is_what_an_automaton_predicts_of_its_own_strings() -> None:
    """Against RegBench's definition written out for one example at a time."""
    rng, scores = random.Random(0), []
    for _ in range(600):
        states, alphabet = rng.randint(4, 12), rng.sample(range(18), rng.randint(4, 18))
        automaton = []
        for state in range(states):
            degree = rng.randint(1, 3)
            others = [other for other in range(states) if other != state]
            automaton.append(
                list(zip(rng.sample(alphabet, degree), rng.sample(others, degree), strict=True))
            )
        certain, place = [], 0
        for _ in range(rng.randint(10, 19)):
            state = 0
            for _ in range(rng.randint(1, 49)):
                if 0 < place <= 512:
                    certain.append(1 / len(automaton[state]))
                state, place = rng.choice(automaton[state])[1], place + 1
            place += 1
        scores.append(sum(certain) / len(certain))
    task = InContextLanguage()
    assert task.ceiling(task.train[0]) == pytest.approx(sum(scores) / len(scores), abs=0.02)


def test_counting_comes_near_the_ceiling_once_many_strings_are_seen() -> None:
    options = {"symbols": 4, "fewest_symbols": 4, "states": 4, "string": 12}
    task = on(InContextLanguage, "600:60:60:24", **options)
    examples = made(task)
    late = torch.arange(600) >= 400
    right, certain = [], Fraction(0)
    branching = examples.slices["branching"]
    assert isinstance(branching, torch.Tensor)
    for index, row in enumerate(examples.inputs.tolist()):
        asked = [at for at in asked_of(examples, index) if late[at]]
        answers = in_context_language.solve(row, asked, separator=4)
        right += [
            int(examples.labels[index, at]) == a for at, a in zip(asked, answers, strict=True)
        ]
        certain += sum(Fraction(1, int(branching[index, at])) for at in asked)
    ceiling = float(certain) / len(right)
    assert ceiling - 0.06 < sum(right) / len(right) < ceiling + 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "64:1:3:5"}, r"greater than or equal to 2"),
        ({"train": "64:5:3:5"}, r"64:5:3:5: .*Expected fewest <= most, got 5 > 3"),
        ({"train": "1:2:3:5"}, r"1:2:3:5: .*length >= 2, got 1"),
        ({"symbols": 3}, r"fewest_symbols <= symbols, got 4 > 3"),
        ({"states": 3}, r"fewest_states <= states, got 4 > 3"),
        ({"branches": 5}, r"branches <= fewest_symbols, got 5 > 4"),
        ({"branches": 4}, r"branches <= fewest_states - 1, got 4 > 4 - 1"),
    ],
)
def test_an_impossible_task_is_refused_with_the_numbers(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        InContextLanguage(**options)


def test_the_contract_of_tasks_is_kept() -> None:
    check_task(on(InContextLanguage, "80:4:9:40", string=12)).raise_if_failed()
