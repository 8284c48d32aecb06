"""Intervals of points: the range of their seeds, or a confidence interval of their mean."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

ENOUGH_SEEDS = 6
"""From here on an interval is Student's; fewer seeds show their range."""
CONFIDENCE = 0.95
PLATEAU_GAP = 0.2
"""Scores with a wider gap between them lie on different plateaus; twice the least margin of a race.
The number is our own choice."""


class Interval(NamedTuple):
    """An interval of the scores of a point, and what it is called."""

    low: float
    high: float
    name: str
    """"range", "95%", or nothing for fewer than two seeds, whose ends are NaN."""


def interval(scores: np.ndarray, candidates: int = 1) -> Interval:
    """The range of fewer than six scores; from six on Student's 95% interval, clipped to [0, 1].

    The best of several candidates tends to be a lucky one. Of three or more that ended in the race,
    the lower end therefore takes a smaller tail, as if each had been tested: 2.5% * 2 / candidates.
    For one or two candidates it is Student's interval as it stands.
    """
    count = len(scores)
    if count < 2:
        return Interval(math.nan, math.nan, "")
    if count < ENOUGH_SEEDS:
        return Interval(float(scores.min()), float(scores.max()), "range")
    tail = (1 - CONFIDENCE) / 2
    mean = float(scores.mean())
    error = float(scores.std(ddof=1)) / math.sqrt(count)
    low = mean - error * student_quantile(1 - tail * min(1.0, 2 / candidates), count - 1)
    high = mean + error * student_quantile(1 - tail, count - 1)
    return Interval(max(0.0, low), min(1.0, high), f"{CONFIDENCE:.0%}")


def heading_of(names: Iterable[str]) -> str:
    """The heading of a table or figure for intervals of these kinds.

    Where both kinds occur, whoever prints them marks the 95% intervals with an asterisk.
    """
    kinds = set(names) - {""}
    if len(kinds) > 1:
        return "range, 95%*"
    return "95% interval" if kinds == {f"{CONFIDENCE:.0%}"} else "range"


@lru_cache(maxsize=256)
def student_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution, for a probability from 0.5 to 1 (exclusive).

    By bisection of its distribution function, to about 1e-12 of the angle atan(t / √degrees).
    """
    assert 0.5 <= probability < 1
    assert degrees >= 1
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """P(|T| <= √degrees tan(angle)): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def learned(scores: np.ndarray) -> int:
    """How many seeds learned, where runs either learn or stay on a plateau; else all of them.

    The seeds above the widest gap between neighbouring scores, if that gap exceeds `PLATEAU_GAP`.
    """
    ordered = np.sort(scores)
    gaps = np.diff(ordered)
    if len(gaps) == 0 or gaps.max() <= PLATEAU_GAP:
        return len(scores)
    return len(scores) - 1 - int(np.argmax(gaps))
