"""Holding examples against a solver that reads the inputs and the places that are asked."""

from collections.abc import Callable, Sequence

from recall_bench.tasks import IGNORE, Examples

Solver = Callable[[list[int], list[int]], Sequence[int]]


def assert_right(examples: Examples, solve: Solver) -> None:
    """Every row asks something, and the solver answers all of it."""
    for inputs, labels in zip(examples.inputs.tolist(), examples.labels.tolist(), strict=True):
        asked = [at for at, label in enumerate(labels) if label != IGNORE]
        assert asked
        answers = list(solve(inputs, asked))
        assert answers == [labels[at] for at in asked], f"inputs {inputs}, asked {asked}"


def asked_of(examples: Examples, row: int = 0) -> dict[int, int]:
    """Position -> label of one example."""
    labels = examples.labels[row].tolist()
    return {at: label for at, label in enumerate(labels) if label != IGNORE}
