"""Fuzzy recall by cutting the row into runs: what followed the same key when it was first shown."""

from itertools import groupby


def solve(inputs: list[int], asked: list[int], *, keys: int, padding: int) -> list[int]:
    """``keys`` tokens make up keys, from 0; the others values, but for ``padding``."""
    runs = [
        list(run)
        for is_key, run in groupby(
            (place for place in range(len(inputs)) if inputs[place] != padding),
            key=lambda place: inputs[place] < keys,
        )
    ]
    pairs = list(zip(runs[::2], runs[1::2], strict=True))

    def said(run: list[int]) -> list[int]:
        return [inputs[place] for place in run]

    answers = []
    for at in asked:
        which = next(i for i, pair in enumerate(pairs) if at + 1 in pair[1])
        key, value = pairs[which]
        shown = next(v for k, v in pairs[:which] if said(k) == said(key))
        answers.append(inputs[shown[at + 1 - value[0]]])
    return answers
