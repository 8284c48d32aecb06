"""``python -m recall_bench`` is the command line."""

from recall_bench.cli import main

main()
