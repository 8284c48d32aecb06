#!/bin/sh
# Trains Figure 2's models with the differences between the published code and the published recipe:
# its block, its initialisation of Mamba, no dropout before Mamba, its H3. A second call continues from
# the committed records. Needs a GPU, except for the last three sweeps, which take two CPU cores an hour
# and a half.
# sh results/figure2/variants.sh [STORE]
set -eu
here=results/figure2
store="${1:-runs/results-figure2-variants}"
[ ! -f $here/variants.parquet ] || recall-bench import $here/variants.parquet --store "$store"
sweep() { recall-bench sweep --store "$store" --seeds 3 "$@"; }
figure2() { sweep --preset figure2 --seeds-at-best-rate "$@"; }
quick() { sweep --preset quick --d-model 64 --d-state 16 --epochs 24 --learning-rates 3e-3 "$@"; }
block="--plugin $here/zoology_block.py"
mamba="--plugin $here/zoology_mamba.py --arch mamba-zoology --norm rmsnorm"
figure2 $block --arch based --layers short-conv+identity+taylor-attention+identity \
    --d-model 48,64 --feature-dim 16,24
figure2 --arch mamba --d-state 24 --embedding-dropout 0
figure2 $mamba --d-model 64,128,256 --d-state 24 --embedding-dropout 0
recall-bench sweep --store "$store" --preset figure2 $block --plugin $here/zoology_h3.py \
    --arch h3-zoology --layers self+identity+self+identity --d-model 64 --d-state 16 --head-dim 2
quick --arch mamba
quick --arch mamba --embedding-dropout 0
quick $mamba
recall-bench export --store "$store" --output $here/variants.parquet
recall-bench report --store "$store"
