#!/bin/sh
# MAD's table: the baselines and, with CHANGES=1, also one change at a time, ten times as many runs. A
# second call, on this or another machine, continues from the committed records. MAD trains in bf16.
# sh results/mad/run.sh [STORE] [more options for the sweep]
set -eu
here=results/mad
store="${1:-runs/results-mad}"
[ $# -eq 0 ] || shift
[ ! -f $here/records.parquet ] || recall-bench import $here/records.parquet --store "$store"
for suite in mad-baseline ${CHANGES:+mad}; do
    recall-bench sweep --suite $suite --arch attention,mamba,h3,based,rwkv --precision bf16 \
        --store "$store" "$@"
    recall-bench export --store "$store" --output $here/records.parquet
    recall-bench report --suite $suite --store $here/records.parquet --markdown > $here/$suite.md
    recall-bench plot --suite $suite --store $here/records.parquet --output $here/$suite.png
done
