"""N-gram lookup as a search in text: find the n-gram in the string, read on behind it.

The marks are the largest tokens: the start at position 0, the end one above it.
"""


def solve(row: list[int], asked: list[int]) -> list[int]:
    end = row[0] + 1
    first, *others = (at for at, token in enumerate(row) if token == end)
    if others:  # n-gram | string |
        ngram, string = row[1:first], row[first + 1 : others[0]]
    else:  # string | n-gram
        ngram, string = row[first + 1 : asked[0] + 1], row[1:first]
    n = len(ngram)
    places = [at for at in range(len(string)) if string[at : at + n] == ngram]
    assert len(places) == 1
    return string[places[0] + n :][: len(asked)]
