"""Options that make a task small enough for a first look on a CPU, by task name.

At the recipe of the preset ``quick`` a run takes a minute or less on one core, attention solves the
task where it should, and at least two architectures part. What is not named here is as published.
"""

from typing import Any


def _splits(form: str, examples: int, held_out: str = "") -> dict[str, str]:
    """The splits of one segment, ``form`` without its examples; ``held_out`` where it differs."""
    test = f"{held_out or form}:400"
    return {"train": f"{form}:{examples}", "validation": test, "test": test}


QUICK: dict[str, dict[str, Any]] = {
    "mad-in-context-recall": _splits("64", 4096),
    "mad-noisy-recall": _splits("64:0.2", 4096),
    "mad-fuzzy-recall": {"key_tokens": 2, "value_tokens": 2, **_splits("64:1", 24_000, "64:0")},
    "mad-selective-copying": {"vocab_size": 8, **_splits("16:3", 24_000)},
    "mad-compression": {"vocab_size": 8, **_splits("6", 24_000)},
    "mad-memorization": {"vocab_size": 4096, **_splits("32", 1024)},
    "needle": {
        "key_symbols": 16,
        "value_tokens": 1,
        "filler_symbols": 16,
        **_splits("40:4:1:4:-1", 8192),
    },
    "variable-tracking": {
        "variables": 32,
        "value_symbols": 32,
        "filler_symbols": 32,
        **_splits("48:2:2", 24_000),
    },
    "common-words": {"words": 24, **_splits("48:3:8:1", 24_000)},
    "frequent-words": {"words": 16, **_splits("64:2", 24_000)},
}
