#!/bin/sh
# Check and train four of fla's layers, then export and draw them beside results/quick. It needs a
# GPU and `pip install --no-deps fla-core==0.6.0 flash-linear-attention==0.6.0`, which use PyTorch,
# Triton, einops and transformers 5. A second call continues the first. Words after the store go to
# every sweep, such as `--seeds 3` or `--unchecked`.
set -eu
store="${1:-runs/results-adapters}"
[ $# -eq 0 ] || shift
plugin=results/adapters/fla_layers.py
sweep() {
    recall-bench sweep --plugin "$plugin" --preset quick --store "$store" "$@"
}
sweep --arch fla-gla --expand-k 0.5 "$@"
sweep --arch fla-deltanet --num-heads 1 "$@"
sweep --arch fla-gated-deltanet --num-heads 1 "$@"
sweep --arch fla-rwkv7 --head-dim 32 "$@"
recall-bench export --store "$store" --output results/adapters/records.jsonl
recall-bench plot --store "$store" --over results/quick/records.jsonl \
    --output results/adapters/frontier.png
recall-bench report --store "$store"
