#!/bin/sh
# The fast path beside a plain float32 loop: the same runs, three seeds, on a GPU. One store holds
# both; `report` shows them as two experiments, since their precision differs.
set -eu
store="${1:-runs/results-agreement}"
here=results/agreement
runs() {
    recall-bench sweep --preset quick --store "$store" --seeds 3 --learning-rates 3e-3 \
        --device cuda --d-model 32 "$@"
}
both() {
    RECALL_BENCH_GRAPHS=0 RECALL_BENCH_KERNELS=reference runs --precision fp32 "$@"
    runs --precision tf32 "$@"
}
both --arch attention
both --arch based --feature-dim 16 --window 0,64
both --arch mamba --d-state 16
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench report --store "$store"
