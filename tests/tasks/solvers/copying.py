"""Copying by hand: split at the mark that ends the string, and read off letter after letter."""


def solve(row: list[int], asked: list[int]) -> list[int]:
    end = row.index(row[0] + 1)
    return [row[1 + at - end] for at in asked]
