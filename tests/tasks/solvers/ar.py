"""Associative recall by memory: what followed the last token when it was shown before."""


def solve(row: list[int]) -> dict[int, int]:
    """Position of the question -> answer."""
    shown, query = row[:-2], row[-1]
    return {len(row) - 1: shown[shown.index(query) + 1]}
