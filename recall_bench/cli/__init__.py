"""The command line: turns its words into calls."""

from recall_bench.cli.app import main

__all__ = ["main"]
