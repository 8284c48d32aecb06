"""Generators of token sequences with labels; the contract is in `recall_bench.tasks.base`."""

from recall_bench.tasks.base import (
    ANSWER,
    EACH_TOKEN,
    IGNORE,
    SPLITS,
    Examples,
    Segment,
    Span,
    Split,
    Task,
    data_hash,
    generate,
)

__all__ = [
    "ANSWER",
    "EACH_TOKEN",
    "IGNORE",
    "SPLITS",
    "Examples",
    "Segment",
    "Span",
    "Split",
    "Task",
    "data_hash",
    "generate",
]
