"""The command line: words become calls."""

from recall_bench.cli.app import main

__all__ = ["main"]
