"""Induction: what came after the first place of the token that is asked about?"""


def solve(row: list[int], asked: list[int]) -> list[int]:
    return [row[row.index(row[at]) + 1] for at in asked]
