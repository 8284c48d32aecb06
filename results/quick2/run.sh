#!/bin/sh
# Every run of the preset quick2, then its export and figure. A second call continues the first.
# Needs a GPU: four times the epochs of results/quick.
# sh results/quick2/run.sh [STORE]
set -eu
here=results/quick2
store="${1:-runs/results-quick2}"
[ ! -f $here/records.jsonl ] || recall-bench import $here/records.jsonl --store "$store"
recall-bench sweep --preset quick2 --seeds 3 --store "$store" \
    --arch based,attention,sliding-window,mamba,h3,rwkv,taylor-attention,short-conv
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench plot --store "$store" --output $here/frontier.png
recall-bench plot --store "$store" --output $here/frontier.svg
recall-bench report --store "$store"
