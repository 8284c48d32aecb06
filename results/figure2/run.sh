#!/bin/sh
# Figure 2 of the Based paper: one seed of all points at every learning rate, then two more seeds of
# the architectures that vary most, at the rates that are still in the race on validation. A second
# call, on this or another machine, continues from the committed records. Needs a GPU, better several.
# sh results/figure2/run.sh [STORE]
set -eu
here=results/figure2
store="${1:-runs/results-figure2}"
[ ! -f $here/records.parquet ] || recall-bench import $here/records.parquet --store "$store"
recall-bench sweep --preset figure2 --store "$store" \
    --arch based,attention,sliding-window,mamba,h3,rwkv
recall-bench sweep --preset figure2 --store "$store" --arch based,attention,mamba \
    --seeds 3 --seeds-at-best-rate
recall-bench export --store "$store" --output $here/records.parquet
recall-bench report --store "$store" --published figure2 > $here/table.md
recall-bench plot --store "$store" --output $here/frontier.png --published figure2 --efficiency
