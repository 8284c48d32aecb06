"""Generators of token sequences with labels; the contract is in `recall_bench.tasks.base`."""

from recall_bench.tasks.base import (
    IGNORE,
    Examples,
    Segment,
    Span,
    Split,
    Task,
    data_hash,
    generate,
)

__all__ = ["IGNORE", "Examples", "Segment", "Span", "Split", "Task", "data_hash", "generate"]
