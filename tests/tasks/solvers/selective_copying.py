"""Selective copying by a queue: put in what is neither noise nor mark, take out at the marks."""


def solve(row: list[int], asked: list[int]) -> list[int]:
    mark = row[-1]
    queue = [token for token in row if token not in (0, mark)]
    return [queue[asked.index(at)] for at in asked]
