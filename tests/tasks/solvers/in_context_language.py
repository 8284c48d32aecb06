"""Next symbols by counting: what followed the longest context that was seen before?

The current string so far is the context; an earlier place matches as far as the symbols before it
are the same, back to a separator at most. A separator that both reach makes the states equal, since
every string begins in the same one, so it counts as one symbol more.
"""

from collections import Counter


def solve(row: list[int], asked: list[int], separator: int) -> list[int]:
    answers = []
    for at in asked:
        found: dict[int, Counter[int]] = {}
        for back in range(at):
            if row[back + 1] < separator:
                found.setdefault(_match(row, at, back, separator), Counter())[row[back + 1]] += 1
        answers.append(found[max(found)].most_common(1)[0][0] if found else 0)
    return answers


def _match(row: list[int], at: int, back: int, separator: int) -> int:
    """How many tokens up to ``at`` equal those up to ``back``, within a string."""
    size = 0
    while True:
        if size > back:  # the row begins with a string: a separator stands before it
            return size + (row[at - size] == separator)
        if row[at - size] != row[back - size]:
            return size
        size += 1
        if row[at - size + 1] == separator:
            return size
