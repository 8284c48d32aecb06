"""Forgetting MQAR by a dictionary: later assignments overwrite earlier ones."""


def solve(row: list[int], asked: list[int]) -> list[int]:
    memory: dict[int, int] = {}
    for key, value in zip(row[: min(asked) : 2], row[1 : min(asked) : 2], strict=False):
        memory[key] = value
    return [memory[row[at]] for at in asked]
