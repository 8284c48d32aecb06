#!/bin/sh
# Every GPU test, then the bench, which checks what it times, on one GPU. Needs pytest and pytest-xdist;
# the bench includes flash-linear-attention, flash-attn and mamba-ssm if they are installed.
set -eu
here=results/kernels
python3 -m pytest tests -m gpu -n "${WORKERS:-12}" -q -p no:benchmark > $here/tests.txt 2>&1 ||
    { tail -n 40 $here/tests.txt; exit 1; }
tail -n 1 $here/tests.txt
recall-bench bench kernels --output $here
