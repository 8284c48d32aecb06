"""Run the command line with ``python -m recall_bench``."""

from recall_bench.cli.app import main

main()
