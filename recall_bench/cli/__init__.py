"""The command line: turns its words into calls."""

import sys
from collections.abc import Sequence

from recall_bench.plugins import interrupts

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; raises `SystemExit`, with code 2 for a user's error.

    Ctrl-C gives code 130 and SIGTERM 143, also while the packages are imported.
    """
    with interrupts.watched():
        try:
            from recall_bench.cli.app import run

            code = run(sys.argv[1:] if argv is None else argv)
        except KeyboardInterrupt:
            received = interrupts.received_signal()
            code = 128 + received if received else 130
    sys.exit(code)
