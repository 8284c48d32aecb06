"""`make fuzz`: runs thousands of generated cases, and prints a command for each that goes wrong.

python -m fuzz [--cases 10000] [--processes 300] [--seed N]
python -m fuzz --kind plugin --number 123 [--alone]
"""

import argparse
import collections
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from fuzz.running import KINDS, Wrong, run

SHARES = {"command-line": 40, "store": 20, "export": 15, "plugin": 10, "data": 15}
"""Shares of the cases, in percent."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=300, help="cases in their own processes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--number", type=int, help="run this case only")
    parser.add_argument("--first", action="store_true", help="end with the first that is wrong")
    parser.add_argument("--alone", action="store_true", help="in a process of its own")
    return parser.parse_args()


def failure(kind: str, number: int, process: bool) -> str | None:
    """What is wrong with a case, if anything."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["RECALL_BENCH_CACHE"] = str(Path(folder, "cache"))
        try:
            run(kind, number, Path(folder, "work"), process)
        except Wrong as wrong:
            return str(wrong)
    return None


def main() -> int:
    chosen = arguments()
    kinds = chosen.kind or list(KINDS)
    if chosen.number is not None:
        wrong = failure(kinds[0], chosen.number, chosen.alone)
        print(wrong or "as it should be")
        return bool(wrong)
    print(f"seed {chosen.seed}")
    began, counts, failures = time.monotonic(), collections.Counter(), 0
    total = sum(SHARES[kind] for kind in kinds)
    for kind in kinds:
        for index in range(max(1, chosen.cases * SHARES[kind] // total)):
            process = index * len(kinds) < chosen.processes
            number = chosen.seed * 1_000_000 + index
            if wrong := failure(kind, number, process):
                failures += 1
                alone = " --alone" if process else ""
                print(
                    f"\npython -m fuzz --kind {kind} --number {number}{alone}\n{wrong}", flush=True
                )
                if chosen.first:
                    return 1
            counts[kind] += 1
        print(f"{kind}: {counts[kind]} cases, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{sum(counts.values())} cases, {failures} wrong, seed {chosen.seed}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
