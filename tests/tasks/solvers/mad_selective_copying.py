"""Selective copying by crossing out the blanks before the mark."""


def solve(inputs: list[int], asked: list[int], *, vocab_size: int) -> list[int]:
    blank, mark = vocab_size - 2, vocab_size - 1
    end = inputs.index(mark)
    data = [token for token in inputs[:end] if token != blank]
    return [data[at - end - 1] for at in asked]
