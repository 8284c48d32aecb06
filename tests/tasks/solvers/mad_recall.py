"""MAD's recall by looking back: what followed this token the last time it was here?"""


def solve(inputs: list[int], asked: list[int]) -> list[int]:
    answers = []
    for at in asked:
        seen = next(back for back in range(at - 1, -1, -1) if inputs[back] == inputs[at])
        answers.append(inputs[seen + 1])
    return answers
