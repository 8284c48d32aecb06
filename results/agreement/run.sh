#!/bin/sh
# Compares the fast path with a plain float32 loop: the same runs, three seeds, on a GPU, in one store.
# `report` shows an experiment for each precision and length of training: fp32 is the plain loop, without
# our kernels and without CUDA graphs, tf32 and bf16 are the fast path.
#
# In the preset's six epochs Mamba does not learn the task, so it also trains for 24, at two widths. Its
# plain loop launches a dozen kernels for every token; six epochs take more than six minutes on an H200.
# Therefore the plain runs of six epochs are those of results/quick, on a CPU, and the plain runs of 24
# epochs replay the reference from CUDA graphs. A second call continues from the committed records.
# sh results/agreement/run.sh [STORE]
set -eu
store="${1:-runs/results-agreement}"
here=results/agreement
[ ! -f $here/records.jsonl ] || recall-bench import $here/records.jsonl --store "$store"
runs() {
    recall-bench sweep --preset quick --store "$store" --seeds 3 --learning-rates 3e-3 \
        --device cuda "$@"
}
few() {
    runs "$@" --arch attention --d-model 32
    runs "$@" --arch based --d-model 32 --feature-dim 16 --window 0,64
}
longer() {
    runs "$@" --arch mamba --d-model 32,64 --d-state 16 --epochs 24
}
for precision in tf32 bf16; do
    few --precision $precision
    runs --precision $precision --arch mamba --d-model 32 --d-state 16
    longer --precision $precision
done
export RECALL_BENCH_KERNELS=reference
RECALL_BENCH_GRAPHS=0 few --precision fp32
longer --precision fp32
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench report --store "$store"
