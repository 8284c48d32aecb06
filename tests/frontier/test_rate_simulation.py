"""What the race of learning rates is worth, in simulated sweeps; docs/numbers.md has the tables."""

import re
from pathlib import Path

import numpy as np
import pytest
from rate_simulation import (
    COUNTS,
    NORMAL,
    WORLDS,
    _intervals,
    coverage,
    first_seed_decides,
    full_sweep,
    outcome,
    table_of_coverage,
    table_of_rules,
    the_race,
)

from recall_bench.frontier.intervals import ENOUGH_SEEDS, interval
from recall_bench.frontier.race import race

DOCS = Path(__file__).parents[2] / "docs/numbers.md"


@pytest.mark.parametrize("name", WORLDS)
def test_the_simulated_race_is_the_one_that_chooses_rates(name):
    scores = WORLDS[name].draw(np.random.default_rng(2), 100, 4)
    choice = the_race(scores)
    for point, table in enumerate(scores):
        seen = np.full_like(table, np.nan)
        for seed in range(table.shape[1]):
            racing = race(seen).racing
            seen[racing, seed] = table[racing, seed]
        found = race(seen)
        assert found.leader == choice.rate[point]
        assert found.racing.sum() == choice.racing[point]
        assert (~np.isnan(seen)).sum() == choice.runs[point]


@pytest.mark.parametrize("name", WORLDS)
def test_the_race_costs_less_than_a_full_sweep_and_chooses_better_than_the_first_seed(name):
    full, raced, first = (
        outcome(WORLDS[name], rule, 3) for rule in (full_sweep, the_race, first_seed_decides)
    )
    assert first.runs < raced.runs <= full.runs
    assert full.regret <= raced.regret + 0.001
    assert raced.regret <= first.regret
    assert raced.regret <= full.regret + 0.01
    assert abs(raced.bias - full.bias) <= 0.005


def test_where_seeds_decide_the_race_halves_the_regret_of_the_first_seed():
    for name in ("plateau: runs learn or not", "the fastest rate diverges"):
        raced, first = (outcome(WORLDS[name], rule, 3) for rule in (the_race, first_seed_decides))
        assert raced.regret < 0.6 * first.regret


@pytest.mark.parametrize("name", NORMAL)
@pytest.mark.parametrize("seeds", [count for count in COUNTS if count >= ENOUGH_SEEDS])
def test_what_is_called_95_percent_holds_the_true_mean_in_93_to_97(name, seeds):
    assert 0.93 <= coverage(NORMAL[name], the_race, seeds) <= 0.97


def test_the_range_of_a_few_seeds_holds_the_true_mean_less_often():
    assert coverage(NORMAL["one rate"], the_race, 2) == pytest.approx(1 / 2, abs=0.02)
    assert coverage(NORMAL["one rate"], the_race, 3) == pytest.approx(3 / 4, abs=0.02)


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_the_simulated_intervals_are_those_of_points(seeds):
    rng = np.random.default_rng(3)
    scores, candidates = 0.6 + 0.2 * rng.standard_normal((30, seeds)), rng.integers(1, 5, 30)
    low, high = _intervals(scores, candidates)
    for row, count, *ends in zip(scores, candidates, low, high, strict=True):
        assert interval(row, count)[:2] == pytest.approx(ends)


def numbers(lines):
    return [float(number) for line in lines for number in re.findall(r"[+-]?\d+\.\d+", line)]


@pytest.mark.parametrize("table", [table_of_rules, table_of_coverage])
def test_the_tables_of_the_docs_are_those_of_the_simulation(table):
    text, lines = DOCS.read_text(), table()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    stored = [
        line
        for line in text.splitlines()
        if line.split("|")[1:2] and line.split("|")[1].strip() in names
    ]
    assert len(stored) == len(names)
    assert numbers(stored) == pytest.approx(
        numbers(lines[2:]), abs=0.11 if "%" in lines[-1] else 0.0011
    )
