"""A phone book read as text: one dictionary entry for each line with a colon."""


def solve(row: list[int], asked: list[int]) -> list[int]:
    lines: list[list[int]] = [[]]
    for token in row[: asked[0]]:
        lines[-1].append(token)
        if token == 11:
            lines.append([])
    numbers = {tuple(line[:2]): line[3:-1] for line in lines[:-1] if 10 in line}
    return numbers[tuple(lines[-1])]
