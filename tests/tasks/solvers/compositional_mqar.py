"""Compositional MQAR by a dictionary of bigrams: what came after these two tokens before?"""


def solve(row: list[int], asked: list[int]) -> list[int]:
    answers = []
    for at in asked:
        listed = next(i for i in range(0, at, 3) if row[i : i + 2] == row[at - 1 : at + 1])
        answers.append(row[listed + 2])
    return answers
