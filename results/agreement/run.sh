#!/bin/sh
# The fast path beside a plain float32 loop: the same runs, three seeds, on a GPU. One store holds
# all; `report` shows an experiment for each precision and length of training: fp32 is the plain
# loop, without our kernels and without CUDA graphs, tf32 and bf16 are the fast path. In the preset's
# six epochs Mamba does not learn the task, so it trains for 24 as well; its plain loop runs on the
# CPU: on an H200, which launches a dozen kernels for every token, it had not ended after six minutes. A second call goes on
# from the records that are here.
# sh results/agreement/run.sh [STORE]
set -eu
store="${1:-runs/results-agreement}"
here=results/agreement
[ ! -f $here/records.jsonl ] || recall-bench import $here/records.jsonl --store "$store"
runs() {
    recall-bench sweep --preset quick --store "$store" --seeds 3 --learning-rates 3e-3 \
        --d-model 32 "$@"
}
few() {
    runs "$@" --arch attention
    runs "$@" --arch based --feature-dim 16 --window 0,64
}
mamba() {
    runs "$@" --arch mamba --d-state 16
    runs "$@" --arch mamba --d-state 16 --epochs 24
}
for precision in tf32 bf16; do
    few --device cuda --precision $precision
    mamba --device cuda --precision $precision
done
RECALL_BENCH_GRAPHS=0 RECALL_BENCH_KERNELS=reference few --device cuda --precision fp32
mamba --device cpu --precision fp32
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench report --store "$store"
