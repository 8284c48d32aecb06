"""The age of this process."""

import os
import time
from pathlib import Path


def process_age() -> float | None:
    """Seconds since the system started this process; None where it does not tell (not Linux)."""
    file = Path("/proc/self/stat")
    if not file.exists():
        return None
    # The name of the program, in parentheses, may contain blanks; the start is field 22.
    fields = file.read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
