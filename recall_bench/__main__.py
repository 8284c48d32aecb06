"""Run the command line with ``python -m recall_bench``."""

from recall_bench.cli import main

main()
