"""Ceilings on recall that no model can beat, from the bits of state and from a window's reach.

Notation: a model carries S bits of state past D pairs, each with one of q values; a is the mean
accuracy. Answers are never fed back into the model, so every guess is a function of the state, the
keys and the filler. By the data processing inequality, Fano's and Jensen's, independent values need

    S >= D R_q(a),    R_q(a) = log2 q - h(a) - (1 - a) log2(q - 1),    h the binary entropy,

where R_q is the rate-distortion function of a uniform source under Hamming distortion. Distinct
values (``replacement=False``) carry log2(q! / (q-D)!) bits instead of D log2 q, so

    S >= log2(q! / (q-D)!) - D (log2 q - R_q(a)).

MQAR draws distinct values, for which only the second form is a bound. The two differ by less than
0.002 in accuracy at q = 4096, and by 12 bits of 3072 at D = 256.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]


def recall_ceiling(
    state_bits: ArrayLike, pairs: ArrayLike, values: ArrayLike, *, replacement: bool = True
) -> Any:
    """The highest mean accuracy a*(S) over D ``pairs`` with S ``state_bits`` and q ``values``.

    Solves D R_q(a) = S by bisection; the result is at least chance, 1/q. Arguments broadcast.
    Returns a float for scalars, otherwise an array. ``replacement=False`` gives the bound for
    values that are distinct within a row. Raises `ValueError` for negative bits, no pairs, or
    fewer than two values.
    """
    S, D, q = (np.asarray(x, dtype=np.float64) for x in (state_bits, pairs, values))
    if not (S >= 0).all():
        raise ValueError(f"state_bits must be at least 0. Got {S}.")
    _check(D, q, replacement)
    S, D, q = np.broadcast_arrays(S, D, q)
    spare = 0.0 if replacement else _spare_bits(D, q)
    rate = (S + spare) / D  # bits per pair that the model may use
    low, high = 1 / q, np.ones_like(q)
    for _ in range(60):
        middle = (low + high) / 2
        reachable = _rate(middle, q) <= rate
        low, high = np.where(reachable, middle, low), np.where(reachable, high, middle)
    return _plain(np.where(rate >= np.log2(q), 1.0, low))


def required_bits(
    accuracy: ArrayLike, pairs: ArrayLike, values: ArrayLike, *, replacement: bool = True
) -> Any:
    """The fewest bits of state that allow a mean ``accuracy``: D R_q(a).

    The inverse of `recall_ceiling`. Arguments broadcast. Exact recall of distinct
    values (``replacement=False``, q = 4096) needs 767 bits for 64 pairs and 3060 for 256.
    Raises `ValueError` for an accuracy outside [0, 1].
    """
    a, D, q = (np.asarray(x, dtype=np.float64) for x in (accuracy, pairs, values))
    if not ((a >= 0) & (a <= 1)).all():
        raise ValueError(f"accuracy must lie in [0, 1]. Got {a}.")
    _check(D, q, replacement)
    spare = 0.0 if replacement else _spare_bits(D, q)
    return _plain(np.maximum(D * _rate(a, q) - spare, 0))


def efficiency(
    accuracy: ArrayLike,
    state_bits: ArrayLike,
    pairs: ArrayLike,
    values: ArrayLike,
    *,
    replacement: bool = True,
) -> Any:
    """The share of the state that its recall requires, `required_bits` / S; 1 is optimal.

    Count ``state_bits`` at the width of the state's dtype: 32 per fp32 element.
    """
    needed = required_bits(accuracy, pairs, values, replacement=replacement)
    return _plain(np.divide(needed, np.asarray(state_bits, dtype=np.float64)))


def mean_recall_ceiling(
    state_bits: ArrayLike, segments: Iterable[Any], values: int, *, replacement: bool = True
) -> Any:
    """The mean `recall_ceiling` over ``segments`` of (length, pairs): the ceiling of a run's score.

    A segment is a tuple that starts with length and pairs, or a mapping or object with both.
    """
    return _plain(
        np.mean(
            [
                recall_ceiling(state_bits, pairs, values, replacement=replacement)
                for _, pairs in _lengths_and_pairs(segments)
            ],
            axis=0,
        )
    )


def mean_required_bits(
    accuracy: float, segments: Iterable[Any], values: int, *, replacement: bool = True
) -> float:
    """The fewest bits whose `mean_recall_ceiling` over ``segments`` is at least ``accuracy``."""
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must lie in [0, 1]. Got {accuracy}.")
    listed = _lengths_and_pairs(segments)
    most = max(pairs for _, pairs in listed)
    low, high = 0.0, float(required_bits(1.0, most, values, replacement=replacement))
    if mean_recall_ceiling(0.0, listed, values, replacement=replacement) >= accuracy:
        return 0.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if mean_recall_ceiling(middle, listed, values, replacement=replacement) >= accuracy:
            high = middle
        else:
            low = middle
    return high


def reach(windows: Iterable[int | None]) -> int | None:
    """Tokens that a stack of layers sees, the current one included; None where it has no limit.

    ``windows`` holds the tokens that each layer sees, None for a layer without a limit
    (`recall_bench.architectures.Architecture.windows`). A window of w adds w - 1 positions to the
    current one.
    """
    added = [None if window is None else window - 1 for window in windows]
    limited = [positions for positions in added if positions is not None]
    return 1 + sum(limited) if len(limited) == len(added) else None


def window_ceiling(
    window: ArrayLike,
    segments: Iterable[Any],
    power: float = 0.01,
    *,
    shift: int = 0,
    repeats: int = 1,
) -> Any:
    """The fraction of MQAR queries whose value token lies within ``window``, mean over segments.

    ``window`` counts keys, the current one included. A query at position t reaches a value whose
    position is above t - window; a preceding short convolution has copied its key there too. For
    even windows this equals a key within a look-back of ``window``. ``shift`` is the additional
    reach of such a convolution, at most its kernel size minus one; ``power`` is MQAR's exponent a;
    with ``repeats`` only the last listing of the pairs counts. Returns an array if ``window`` is
    one, otherwise a float.

    On the seven test segments of Figure 2 of Based (2402.18668): w=8 .059, 16 .145, 32 .312,
    64 .514, 128 .655, 256 .797, 512 .936, 1024 1; w=8 with ``shift=2`` .080.
    """
    w = np.asarray(window)
    if not (w >= 1).all():
        raise ValueError(f"window must be at least 1. Got {w}.")
    reached = []
    for length, pairs in _lengths_and_pairs(segments):
        slots = (length - 2 * pairs * repeats) // 2
        if slots < pairs:
            raise ValueError(
                f"{pairs} pairs listed {repeats} times do not fit a length of {length}."
            )
        within = np.cumsum(_gaps(slots, pairs, power))
        half = np.minimum((w + shift) // 2, len(within) - 1).astype(int)
        reached.append(np.minimum(within[half], 1.0))
    return _plain(np.mean(reached, axis=0))


@functools.lru_cache(maxsize=256)
def _gaps(slots: int, pairs: int, power: float) -> Array:
    """P(query position - key position = 2j) for j = 0 .. slots + pairs - 1, over all queries.

    The key of pair i is at 2i and its query at 2 pairs + 2g, where g is the i-th slot drawn.
    """
    drawn = draw_order(slots, pairs, power)  # (slots, pairs)
    half_gap = pairs + np.arange(slots)[:, None] - np.arange(pairs)
    return np.bincount(half_gap.ravel(), drawn.ravel() / pairs, slots + pairs).astype(np.float64)


def draw_order(slots: int, draws: int, power: float = 0.01) -> Array:
    """P(slot g is drawn i-th) as (slots, draws): successive draws, p_g ~ (g+1)^(power-1).

    Drawing without replacement is an exponential race: slot g rings at E_g ~ Exp(p_g), and the
    slots are drawn in the order in which they ring. With q_j = 1 - exp(-p_j t),

        P(g is i-th) = ∫ p_g exp(-p_g t) P(exactly i of the others ring before t) dt,

    where the count is Poisson-binomial. After a substitution that makes the integrand decay doubly
    exponentially on both sides, the trapezoidal rule has an error of about 1e-14. The time grows
    with the cube of ``slots``: 0.2 s for 256 on one core, seconds for 1024.
    """
    p = np.arange(1, slots + 1, dtype=np.float64) ** (power - 1)
    p /= p.sum()
    step = min(0.1, slots**-0.5)  # an order statistic of log t is at least this wide
    x = np.arange(-4, math.log(45 * p.max() / p.min()), step)
    t = np.exp(x - np.exp(-x)) / p.max()  # (T,)
    q = -np.expm1(-np.outer(p, t))  # (slots, T)
    density = step * (1 + np.exp(-x)) * t * p[:, None] * np.exp(-np.outer(p, t))

    rung = np.zeros((slots + 1, len(t)))  # P(exactly k of all slots before t)
    rung[0] = 1
    for g in range(slots):
        rung[1 : g + 2] += q[g] * (rung[: g + 1] - rung[1 : g + 2])
        rung[0] *= 1 - q[g]

    # Removing slot g solves rung[k] = (1-q) others[k] + q others[k-1], which is stable upwards
    # from k = 0 for q <= 1/2, and downwards from k = slots - 1 for q > 1/2.
    result = np.zeros((slots, draws))
    matters = density > 1e-18
    for upwards, chosen in ((True, matters & (q <= 0.5)), (False, matters & (q > 0.5))):
        slot, time = np.nonzero(chosen)
        odds = q[chosen] if upwards else 1 - q[chosen]
        weight, others = density[chosen], np.zeros(len(slot))
        for k in range(slots) if upwards else range(slots - 1, -1, -1):
            known = rung[k if upwards else k + 1]
            others = (known[time] - odds * others) / (1 - odds)
            if k < draws:
                result[:, k] += np.bincount(slot, weight * others, slots)
    return result


def _rate(accuracy: Array, values: Array) -> Array:
    """R_q(a) in bits, zero at and below chance."""
    a = np.maximum(accuracy, 1 / values)
    miss = 1 - a
    entropy = -a * np.log2(a) - miss * np.log2(np.where(miss > 0, miss, 1))
    return np.maximum(np.log2(values) - entropy - miss * np.log2(values - 1), 0)


def _spare_bits(pairs: Array, values: Array) -> Array:
    """D log2 q - log2(q! / (q-D)!): the bits that a model gains by knowing values are distinct."""

    def one(D: float, q: float) -> float:
        return -math.fsum(math.log2(1 - i / q) for i in range(int(D)))

    return np.vectorize(one, otypes=[np.float64])(pairs, values)


def _check(pairs: Array, values: Array, replacement: bool) -> None:
    if not (pairs >= 1).all():
        raise ValueError(f"pairs must be at least 1. Got {pairs}.")
    if not (values >= 2).all():
        raise ValueError(f"values must be at least 2. Got {values}.")
    if not replacement and not (pairs <= values).all():
        raise ValueError(f"{pairs} distinct values cannot be drawn from {values}.")


def _lengths_and_pairs(segments: Iterable[Any]) -> list[tuple[int, int]]:
    listed = []
    for segment in segments:
        if isinstance(segment, Mapping):
            listed.append((int(segment["length"]), int(segment["pairs"])))
        elif isinstance(segment, tuple | list):
            listed.append((int(segment[0]), int(segment[1])))
        else:
            listed.append((int(segment.length), int(segment.pairs)))
    if not listed:
        raise ValueError("No segments. Expected at least one of (length, pairs).")
    return listed


def _plain(number: Any) -> Any:
    """Convert a result without dimensions to a float."""
    return float(number) if np.ndim(number) == 0 else number
