#!/bin/sh
# The fast path beside a plain float32 loop: the same runs, three seeds, on a GPU. One store holds
# all; `report` shows an experiment for each precision: fp32 is the plain loop, without our kernels
# and without CUDA graphs, tf32 and bf16 are the fast path. A second call goes on from the records
# that are here. The plain loop takes minutes a run with Mamba.
# sh results/agreement/run.sh [STORE]
set -eu
store="${1:-runs/results-agreement}"
here=results/agreement
[ ! -f $here/records.jsonl ] || recall-bench import $here/records.jsonl --store "$store"
runs() {
    recall-bench sweep --preset quick --store "$store" --seeds 3 --learning-rates 3e-3 \
        --device cuda --d-model 32 "$@"
}
all() {
    runs "$@" --arch attention
    runs "$@" --arch based --feature-dim 16 --window 0,64
    runs "$@" --arch mamba --d-state 16
}
all --precision tf32
all --precision bf16
export RECALL_BENCH_GRAPHS=0 RECALL_BENCH_KERNELS=reference
all --precision fp32
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench report --store "$store"
