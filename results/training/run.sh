#!/bin/sh
# Training speed on a GPU: steps by segment and a profile in TF32 and bf16, and whole runs in bf16.
set -eu
recall-bench bench training --precision tf32 --output results/training/tf32 --no-run
recall-bench bench training --precision bf16 --output results/training/bf16
recall-bench bench training --precision tf32 --output results/training/others --no-run \
    --arch h3,rwkv
