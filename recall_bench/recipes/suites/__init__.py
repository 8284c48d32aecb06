"""Suites of tasks with one recipe; `suites.scores` makes their table: tasks by architectures."""

import importlib

from recall_bench.errors import UserError, nearest
from recall_bench.recipes.suites.base import Column, Setting, Suite

__all__ = ["SUITES", "Column", "Setting", "Suite", "get"]

SUITES = {
    "recall": "six reasons to forget, one task each: the set we recommend",
    "mad": "the six tasks of MAD (2403.17844) with their changes",
    "mad-baseline": "the six tasks of MAD without their changes",
    "quick": "every task, small enough for a CPU",
}
"""The suites, with a line about each."""


def get(name: str) -> Suite:
    """The suite called ``name``; raises `UserError` with the nearest valid name."""
    if name not in SUITES:
        raise UserError(f"Unknown suite '{name}'. {nearest(name, SUITES)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    suite: Suite = module.suite()
    return suite
