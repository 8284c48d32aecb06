#!/bin/sh
# MAD's table: baselines first, then one change at a time. A second call, on this machine or another,
# goes on from the records that are here. sh results/mad/run.sh [STORE] [more words for the sweep]
set -eu
here=results/mad
store="${1:-runs/results-mad}"
[ $# -eq 0 ] || shift
[ ! -f $here/records.parquet ] || recall-bench import $here/records.parquet --store "$store"
recall-bench sweep --suite mad --arch attention,mamba,h3,based,rwkv --store "$store" "$@"
recall-bench export --store "$store" --output $here/records.parquet
recall-bench report --suite mad --store $here/records.parquet --markdown > $here/table.md
recall-bench plot --suite mad --store $here/records.parquet --output $here/mad.png
