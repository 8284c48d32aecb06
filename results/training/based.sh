#!/bin/sh
# Based's 36 runs of Figure 2 (nine shapes, four learning rates) on one GPU, timed from the start
# of the process to the last record. sh results/training/based.sh [STORE]; STORE must not exist yet.
set -eu
store="${1:-runs/results-based}"
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}"
began=$(date +%s)
recall-bench sweep --preset figure2 --arch based --store "$store" > "$store.log" 2>&1
echo "$(($(date +%s) - began)) seconds for 36 runs" | tee results/training/based.txt
