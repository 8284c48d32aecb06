#!/bin/sh
# Every run of results/quick, then its export and figure. A second call continues the first.
set -eu
store="${1:-runs/results-quick}"
recall-bench sweep --preset quick --seeds 3 --store "$store" \
    --arch based,attention,sliding-window,mamba,h3,rwkv
recall-bench export --store "$store" --output results/quick/records.jsonl
recall-bench plot --store "$store" --output results/quick/frontier.png
recall-bench plot --store "$store" --output results/quick/frontier.svg
recall-bench report --store "$store"
