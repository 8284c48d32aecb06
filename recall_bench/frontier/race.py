"""The race that chooses a learning rate: clearly worse candidates leave, the rest get more seeds.

Candidates are whatever is searched: learning rates, or learning rates crossed with weight decays.
The margins are our own choice; `docs/numbers.md` shows what they cost and what they save.
"""

from typing import NamedTuple

import numpy as np

LEAST_MARGIN = 0.1
"""A candidate never leaves the race while it lies closer to the leader than this."""
DEVIATIONS = 2.0
"""A candidate that leaves lies more than this many deviations of seeds below the leader."""
ONE_SEED_DEVIATION = 0.05
"""The deviation assumed where a single seed shows none."""


class Race(NamedTuple):
    """The state of a race of C candidates over S seeds."""

    leader: int
    """The candidate with the highest mean on the shared seeds; the earliest of equal ones."""
    racing: np.ndarray
    """Which candidates are still in the race: bool (C,)."""
    shared: np.ndarray
    """The seeds on which the racing candidates were compared: bool (S,)."""
    waiting: np.ndarray
    """Which racing candidates lack a score that the race asks for: bool (C,)."""


def race(scores: np.ndarray, started: np.ndarray | None = None) -> Race:
    """The race so far, from ``scores`` of candidates by seeds, (C, S), NaN where there is none.

    Candidates are compared by their means on the seeds that all of those still racing share. One
    leaves when its mean lies more than `margin` below the leader's. Those that remain share more
    seeds, perhaps, and are compared again, until none leaves. Candidates without a score stay in
    the race and wait. Where no seed is shared, the candidates that have the seed most of them have
    are compared, and the others wait.

    ``started`` says which runs exist, finished or not, (C, S): a racing candidate waits for every
    seed that any racing candidate has started. Without it, runs with a score are those that exist.
    """
    known = ~np.isnan(scores)
    started = known if started is None else started | known
    racing = np.ones(len(scores), dtype=bool)
    while True:
        competing = racing & known.any(axis=1)
        shared = known[competing].all(axis=0) & competing.any()
        if competing.any() and not shared.any():
            counts = known[competing].sum(axis=0)
            seeds = range(known.shape[1])  # equal counts are told apart whatever the seeds' order
            competing &= known[:, max(seeds, key=lambda seed: (counts[seed], *known[:, seed]))]
            shared = known[competing].all(axis=0)
        if not competing.any():
            leader = 0
            break
        table = scores[np.ix_(competing, shared)]
        means = np.full(len(scores), -np.inf)
        means[competing] = table.mean(axis=1).round(12)
        leader = int(np.argmax(means))
        behind = (means[leader] - means).round(12) > round(margin(table), 12)
        leaving = competing & behind
        if not leaving.any():
            break
        racing &= ~leaving
    asked = started[racing].any(axis=0)
    return Race(leader, racing, shared, racing & ~(known | ~asked).all(axis=1))


def margin(scores: np.ndarray) -> float:
    """How far below the leader a candidate may lie, from scores of candidates by shared seeds.

    The larger of `LEAST_MARGIN` and `DEVIATIONS` standard deviations of seeds, pooled over the
    candidates.
    """
    deviation = ONE_SEED_DEVIATION
    if scores.shape[1] > 1:
        deviation = float(np.sqrt(scores.var(axis=1, ddof=1).mean()))
    return max(LEAST_MARGIN, DEVIATIONS * deviation)
