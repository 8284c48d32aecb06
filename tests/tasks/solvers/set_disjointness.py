"""Set disjointness by sets: tokens 2, 3 and 4 stand before, between and behind them."""


def which(row: list[int], asked: list[int]) -> list[int]:
    """The one element that both sets have."""
    start, middle, end = (row.index(mark) for mark in (2, 3, 4))
    assert asked == [end]
    (element,) = set(row[start + 1 : middle]) & set(row[middle + 1 : end])
    return [element]


def solve(row: list[int], asked: list[int]) -> list[int]:
    start, middle, end = (row.index(mark) for mark in (2, 3, 4))
    assert asked == [end]
    return [int(not set(row[start + 1 : middle]).isdisjoint(row[middle + 1 : end]))]
