"""Associative recall by memory: what followed the last token when it was shown before."""


def solve(row: list[int], asked: list[int]) -> list[int]:
    return [row[row.index(row[at]) + 1] for at in asked]
