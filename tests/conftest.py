import os

# Tests run side by side, and the threads of tiny operations would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from command_line import recall_bench, run_in

__all__ = ["recall_bench", "run_in"]
