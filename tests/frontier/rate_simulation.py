"""Simulated sweeps of one point: what each way of choosing a learning rate reports, and its cost.

PYTHONPATH=tests/frontier python -m rate_simulation    # the tables of docs/numbers.md
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from recall_bench.frontier.intervals import ENOUGH_SEEDS, student_quantile
from recall_bench.frontier.race import DEVIATIONS, LEAST_MARGIN, ONE_SEED_DEVIATION

POINTS = 20_000
"""Points drawn for each number of a table."""

World: TypeAlias = Callable[[np.random.Generator, int, int], np.ndarray]
"""Draws scores of rates by seeds for many points, (points, rates, seeds)."""


class Rates(NamedTuple):
    """Four rates whose runs learn with some probability, and stay on a plateau otherwise."""

    level: tuple[float, ...]
    """The mean score of the runs that learn, by rate."""
    noise: float
    """The deviation of seeds around it."""
    learns: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    """How often a run learns, by rate."""
    plateau: float = 0.06
    """The score of a run that does not; 0 where it diverges."""

    def draw(self, rng: np.random.Generator, points: int, seeds: int) -> np.ndarray:
        """Scores (points, rates, seeds)."""
        shape = points, len(self.level), seeds
        scores = np.array(self.level)[:, None] + self.noise * rng.standard_normal(shape)
        stuck = rng.random(shape) >= np.array(self.learns)[:, None]
        return np.where(stuck, self.plateau, scores)

    @property
    def truth(self) -> np.ndarray:
        """The mean score of each rate over all seeds there could be, (rates,)."""
        learns = np.array(self.learns)
        return learns * np.array(self.level) + (1 - learns) * self.plateau


WORLDS = {
    "one rate is best, seeds agree": Rates((0.80, 0.74, 0.62, 0.40), 0.02),
    "close rates, seeds agree": Rates((0.80, 0.79, 0.78, 0.77), 0.02),
    "close rates, seeds differ": Rates((0.80, 0.78, 0.76, 0.74), 0.06),
    "equal rates": Rates((0.80, 0.80, 0.80, 0.80), 0.05),
    "plateau: runs learn or not": Rates((0.55, 0.50, 0.54, 0.50), 0.03, (0.4, 0.9, 0.6, 0.2)),
    "the fastest rate diverges": Rates((0.70, 0.70, 0.74, 0.75), 0.02, (1, 1, 0.7, 0.3), 0.0),
}


class Choice(NamedTuple):
    """What a rule chose in many simulated points."""

    rate: np.ndarray
    """The rate, (points,)."""
    seeds: np.ndarray
    """The scores that it reports, (points, seeds)."""
    runs: np.ndarray
    """How many runs it took, (points,)."""
    racing: np.ndarray
    """How many rates ended in the race, (points,)."""


def _choice(scores: np.ndarray, rate: np.ndarray, runs: np.ndarray, racing: np.ndarray) -> Choice:
    return Choice(rate, scores[np.arange(len(scores)), rate], runs, racing)


def full_sweep(scores: np.ndarray) -> Choice:
    """Every rate with every seed."""
    points, rates, seeds = scores.shape
    everything = np.full(points, rates * seeds)
    return _choice(scores, scores.mean(2).argmax(1), everything, np.full(points, rates))


def first_seed_decides(scores: np.ndarray) -> Choice:
    """One seed of every rate; further seeds only at the rate that it chose."""
    points, rates, seeds = scores.shape
    runs = np.full(points, rates + seeds - 1)
    return _choice(scores, scores[:, :, 0].argmax(1), runs, np.full(points, rates))


def the_race(scores: np.ndarray) -> Choice:
    """`recall_bench.frontier.race` for many points at once, a seed at a time."""
    points, rates, seeds = scores.shape
    racing = np.ones((points, rates), dtype=bool)
    runs = np.zeros(points, dtype=int)
    for seed in range(seeds):
        runs += racing.sum(1)
        leaves = np.ones_like(racing)
        while leaves.any():
            means = np.where(racing, scores[:, :, : seed + 1].mean(2), -np.inf)
            leaves = racing & (means.max(1, keepdims=True) - means > _margin(scores, racing, seed))
            racing &= ~leaves
    means = np.where(racing, scores.mean(2), -np.inf)
    return _choice(scores, means.argmax(1), runs, racing.sum(1))


def _margin(scores: np.ndarray, racing: np.ndarray, seed: int) -> np.ndarray:
    """(points, 1)."""
    if seed == 0:
        return np.full((len(scores), 1), max(LEAST_MARGIN, DEVIATIONS * ONE_SEED_DEVIATION))
    variance = scores[:, :, : seed + 1].var(2, ddof=1)
    pooled = np.sqrt((variance * racing).sum(1) / racing.sum(1))
    return np.maximum(LEAST_MARGIN, DEVIATIONS * pooled)[:, None]


RULES = {
    "full sweep": full_sweep,
    "race": the_race,
    "first seed decides": first_seed_decides,
}


class Outcome(NamedTuple):
    """Means over simulated points."""

    bias: float
    """Reported score minus the true mean of the chosen rate."""
    regret: float
    """The true mean of the best rate minus that of the chosen rate."""
    runs: float
    """Trainings per point."""


def outcome(rates: Rates, rule: Callable[[np.ndarray], Choice], seeds: int) -> Outcome:
    """What a rule comes to in a world, from the same draws for every rule."""
    choice = rule(rates.draw(np.random.default_rng(0), POINTS, seeds))
    truth = rates.truth[choice.rate]
    bias = (choice.seeds.mean(1) - truth).mean()
    return Outcome(float(bias), float((rates.truth.max() - truth).mean()), choice.runs.mean())


def coverage(rates: Rates, rule: Callable[[np.ndarray], Choice], seeds: int) -> float:
    """How often the interval of `recall_bench.frontier.intervals` holds the true mean."""
    choice = rule(rates.draw(np.random.default_rng(1), POINTS, seeds))
    low, high = _intervals(choice.seeds, choice.racing)
    truth = rates.truth[choice.rate]
    return float(((low <= truth) & (truth <= high)).mean())


def _intervals(scores: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`intervals.interval` of many points at once: the lower and upper ends, (points,)."""
    count = scores.shape[1]
    if count < ENOUGH_SEEDS:
        return scores.min(1), scores.max(1)
    kinds, places = np.unique(candidates, return_inverse=True)
    tails = (0.025 * np.minimum(1, 2 / kinds)).tolist()
    lower = np.array([student_quantile(1 - tail, count - 1) for tail in tails])[places]
    upper = student_quantile(0.975, count - 1)
    mean, error = scores.mean(1), scores.std(1, ddof=1) / count**0.5
    return np.maximum(0, mean - error * lower), np.minimum(1, mean + error * upper)


def table_of_rules(seeds: int = 3) -> list[str]:
    """Markdown: bias, regret and runs by world and rule."""
    lines = ["| | " + " | ".join(RULES) + " |", "| --- |" + " --- |" * len(RULES)]
    for name, rates in WORLDS.items():
        found = [outcome(rates, rule, seeds) for rule in RULES.values()]
        cells = [f"{one.bias:+.3f}, {one.regret:.3f}, {one.runs:.1f}" for one in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


COUNTS = (2, 3, 5, 6, 10)


def table_of_coverage() -> list[str]:
    """Markdown: how often the interval holds the true mean, by the number of seeds."""
    heads = [f"{count} seeds" for count in COUNTS]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(COUNTS)]
    for name, rates in NORMAL.items():
        cells = [f"{coverage(rates, the_race, count):.1%}" for count in COUNTS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


NORMAL = {
    "one rate": Rates((0.6,), 0.05, (1.0,)),
    "two equal rates": Rates((0.6, 0.6), 0.05, (1.0, 1.0)),
    "four equal rates": Rates((0.6,) * 4, 0.05),
    "eight equal rates": Rates((0.6,) * 8, 0.05, (1.0,) * 8),
    "four close rates": Rates((0.6, 0.59, 0.58, 0.57), 0.03),
    "one of four is best": Rates((0.6, 0.5, 0.4, 0.3), 0.03),
}
"""Worlds with normal scores, for the coverage of intervals after a race."""


if __name__ == "__main__":
    print("\n".join([*table_of_rules(), "", *table_of_coverage()]))
