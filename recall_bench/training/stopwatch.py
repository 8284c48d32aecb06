"""Measures the time of each phase of a run."""

import time

from recall_bench.kernels.plumbing import compilation


class Stopwatch:
    """Measures one phase after another, apart from the compilation of kernels within them."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._compiled_before = compilation.seconds()

    def lap(self) -> tuple[float, float]:
        """Seconds since the last lap without compilation, and those of compilation alone.

        Kernels that compile in threads beside other work can take longer than the lap, whose other
        seconds are then zero.
        """
        now, compiled = time.perf_counter(), compilation.seconds()
        whole, compiling = now - self._since, compiled - self._compiled_before
        self._since, self._compiled_before = now, compiled
        compiling = min(compiling, whole)
        return whole - compiling, compiling

    def peek(self) -> float:
        """Seconds since the last lap."""
        return time.perf_counter() - self._since
