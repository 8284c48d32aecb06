"""Needles by reading: remember every value under its key, then say them when the key is asked."""


def solve(inputs: list[int], asked: list[int], *, key_tokens: int, value_tokens: int) -> list[int]:
    mark, ask = 0, 1
    values: dict[tuple[int, ...], list[int]] = {}
    answer_at: dict[int, int] = {}
    at = 0
    while at < len(inputs):
        if inputs[at] not in (mark, ask):
            at += 1
            continue
        key = tuple(inputs[at + 1 : at + 1 + key_tokens])
        first = at + 1 + key_tokens
        if inputs[at] == mark:
            values.setdefault(key, []).extend(inputs[first : first + value_tokens])
            at = first + value_tokens
        else:
            answer_at |= {first - 1 + i: token for i, token in enumerate(values[key])}
            at = first + len(values[key])
    return [answer_at[place] for place in asked]
