"""A sweep as a process of its own: STORE, RUNS and TRAIN ("module:function"), PROCESSES."""

import importlib
import signal
import sys

from sweep_training import PLUGIN

from recall_bench.plugins import interrupts
from recall_bench.registry import load_plugin
from recall_bench.store.runs import ResultStore
from recall_bench.sweeps import carry_out as sweep
from recall_bench.sweeps.local import LocalExecutor


def main(path: str, runs: str, train: str, processes: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    with interrupts.watched():
        return sweep_in(path, runs, train, processes)


def sweep_in(path: str, runs: str, train: str, processes: str) -> int:
    load_plugin(PLUGIN)
    module, _, function = runs.partition(":")
    configs = getattr(importlib.import_module(module), function)()
    executor = LocalExecutor(int(processes), "cpu", plugins=[PLUGIN], train=train)
    try:
        summary = sweep.run_sweep(configs, ResultStore(path), executor)
    except KeyboardInterrupt:
        return 128 + (interrupts.received_signal() or signal.SIGINT)
    return len(summary.failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
