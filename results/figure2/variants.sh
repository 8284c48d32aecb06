#!/bin/sh
# Trains Figure 2's models with the differences between the published code and the published recipe:
# its block, its initialisation of Mamba, no dropout before Mamba, its H3. Needs a GPU, except for the
# last three sweeps, which take two CPU cores an hour and a half.
#
# variants.parquet was trained with plugins in the place of --block-style and --recipe. Its runs have
# the same weights, outputs and gradients but other names (mamba-zoology, h3-zoology, an identity
# layer), so that this script trains them anew, except for Mamba's without dropout. The last sweep of
# variants.parquet had the embedding dropout of the preset, which --recipe published leaves out.
# sh results/figure2/variants.sh [STORE]
set -eu
here=results/figure2
store="${1:-runs/results-figure2-variants}"
[ ! -f $here/variants.parquet ] || recall-bench import $here/variants.parquet --store "$store"
sweep() { recall-bench sweep --store "$store" --seeds 3 "$@"; }
figure2() { sweep --preset figure2 --seeds-at-best-rate "$@"; }
quick() { sweep --preset quick --d-model 64 --d-state 16 --epochs 24 --learning-rates 3e-3 "$@"; }
figure2 --arch based --block-style zoology --d-model 48,64 --feature-dim 16,24
figure2 --arch mamba --d-state 24 --embedding-dropout 0
figure2 --arch mamba --recipe published --d-model 64,128,256 --d-state 24
recall-bench sweep --store "$store" --preset figure2 --arch h3 --recipe published \
    --d-model 64 --d-state 16 --head-dim 2
quick --arch mamba
quick --arch mamba --embedding-dropout 0
quick --arch mamba --recipe published
recall-bench export --store "$store" --output $here/variants.parquet
recall-bench report --store "$store"
