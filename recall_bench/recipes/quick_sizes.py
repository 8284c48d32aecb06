"""Options that make a task small enough for a first look on a CPU, by task name.

With the recipe of the preset ``quick`` a run takes a minute or two on one core. The sizes are
chosen so that attention solves most tasks and architectures differ; ``results/tasks`` lists the
exceptions. A short convolution below one attention layer allows a single look-up, by up to three
consecutive tokens. Therefore few items are copied out of noise and a phone book has few lines.
Options that are not named here are as published.
"""

from typing import Any


def _splits(form: str, examples: int, held_out: str = "") -> dict[str, str]:
    """The splits of one segment, ``form`` without its examples; ``held_out``: other tests."""
    test = f"{held_out or form}:400"
    return {"train": f"{form}:{examples}", "validation": test, "test": test}


def _lengths(train: str, examples: int, test: str) -> dict[str, str]:
    """Training and validation on ``train``, tests on ``test``; blanks separate segments."""

    def segments(forms: str, examples: int) -> str:
        return ",".join(f"{form}:{examples}" for form in forms.split())

    return {
        "train": segments(train, examples),
        "validation": segments(train, 400),
        "test": segments(test, 400),
    }


QUICK: dict[str, dict[str, Any]] = {
    "ar": _lengths("42", 32_000, "22 42"),
    "forgetting-mqar": {
        "vocab_size": 512,
        **_lengths("64:4:4 64:8:8", 8192, "64:4:4 64:8:8"),
    },
    "compositional-mqar": {"vocab_size": 512, **_lengths("64:4 64:9", 10_000, "64:4 64:9")},
    "induction": _lengths("64", 16_000, "64 128 256 512"),
    "selective-copying": _splits("36:2", 24_000),
    "copying": _lengths("33:4", 16_000, "17:8 33:16 65:32"),
    "ngram-lookup": {"ngram": 2, "answer": 4, **_lengths("40:12", 16_000, "24:16 40:32 72:64")},
    "phonebook": {
        "names": 128,
        "digits": 2,
        "shown": 0,
        **_lengths("17:2 23:3", 20_000, "17:2 23:3"),
    },
    "set-disjointness": {"vocab_size": 16, **_splits("5:1:1", 32_000)},
    "in-context-language": {
        "symbols": 8,
        "states": 6,
        "string": 15,
        **_lengths("128:6:12", 8192, "128:6:12 256:12:24"),
    },
    "mad-in-context-recall": _splits("64", 4096),
    "mad-noisy-recall": _splits("64:0.2", 4096),
    "mad-fuzzy-recall": {"key_tokens": 2, "value_tokens": 2, **_splits("64:1", 24_000, "64:0")},
    "mad-selective-copying": {"vocab_size": 8, **_splits("16:3", 24_000)},
    "mad-compression": {"vocab_size": 8, **_splits("12", 32_000)},
    "mad-memorization": {"vocab_size": 4096, **_splits("32", 1024)},
    "needle": {
        "key_symbols": 16,
        "value_tokens": 1,
        "filler_symbols": 16,
        **_splits("40:4:1:4:-1", 32_000),
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
