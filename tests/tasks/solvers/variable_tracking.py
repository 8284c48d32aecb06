"""Variable tracking by following the assignments from the value on."""


def solve(inputs: list[int], asked: list[int]) -> list[int]:
    set_mark, ask = 0, 1
    end = inputs.index(ask)
    given = {
        inputs[at + 2]: inputs[at + 1] for at in range(end) if inputs[at] == set_mark
    }  # what a variable was given to
    chain = [inputs[end + 1]]
    while chain[-1] in given:
        chain.append(given[chain[-1]])
    return [chain[at - end] for at in asked]
