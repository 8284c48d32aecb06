"""Common and frequent words by counting the list."""

from collections import Counter

NOISE, ASK = 0, 1


def counted(inputs: list[int]) -> tuple[Counter[int], int]:
    """How often each word stands before the question, and where the question is."""
    end = inputs.index(ASK)
    return Counter(word for word in inputs[:end] if word != NOISE), end


def common(inputs: list[int], asked: list[int]) -> list[int]:
    counts, end = counted(inputs)
    often = max(counts.values())
    words = sorted(word for word, times in counts.items() if times == often)
    return [words[at - end] for at in asked]


def frequent(inputs: list[int], asked: list[int]) -> list[int]:
    counts, end = counted(inputs)
    words = [word for word, _ in counts.most_common()]
    return [words[at - end] for at in asked]
