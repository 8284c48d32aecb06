"""Generators of token sequences with labels; the contract is in `recall_bench.tasks.base`."""

from recall_bench.tasks.base import (
    ANSWER,
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
