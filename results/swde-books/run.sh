#!/bin/sh
# Trains small language models from scratch on real pages: SWDE (books, 2 sites), then WikiText-2.
#
#     results/swde-books/run.sh DATA [STORE]
#
# DATA holds swde/ (testset/ and groundtruth/, unpacked) and wikitext-2/ (valid.txt, test.txt).
# Every stage is a sweep: a second call skips finished runs and continues interrupted ones. The most
# informative stages come first. The environment may set SEEDS, EPOCHS, RATES, LEARN and DEVICE; other
# values give other runs, which need another STORE. A machine without the files can use a copy of the
# cache of one that has prepared them, with SWDE=content:… WIKITEXT=content:… as in that one's records.
#
# Cost: 40 runs on pages, each of 8 passes over 8.3 million tokens: 3.6 s a pass with attention on an
# H200, and 15 s each for set-up and tests; 28 runs on a hundredth as much text. A row asks for every
# attribute that it contains. Preparing the pages takes a minute of CPU, once.
#
# All models are 384 wide with SwiGLU MLPs, 10 to 15 million parameters, in stacks of eight mixers,
# nine for Based. They train on four fifths of the pages of Books-A-Million, validate and test on a
# tenth each, and also test on Christianbook, which they never train on.
set -eu
data="${1:?usage: results/swde-books/run.sh DATA [STORE]}"
store="${2:-runs/swde-books}"
here="results/swde-books"
seeds="${SEEDS:-3}"
rates="${RATES:-0.0005,0.0015}"

four="short-conv+self+short-conv+self+short-conv+self+short-conv+self"
eight="self+self+self+self+self+self+self+self"
based="short-conv+self+sliding-window"
based="$based+$based+$based"

# swde SEEDS OPTIONS…: a sweep over the pages. The loss is on answers unless LEARN=everything; then
# recall must be learned by language modelling, for which this is little text. A vocabulary of 1,024
# splits names into pieces that all occur often. With 8,192, most of which occur a few times in 1,600
# pages, models memorise the answers of training instead of copying.
swde() {
    count="$1"
    shift
    recall-bench sweep --task swde --data "${SWDE:-$data/swde}" --store "$store/swde" \
        --length 1024 --vocab-size 1024 --test-questions 1000 --truncation random --ask all \
        --learn "${LEARN:-answer}" \
        --d-model 384 --mlp-ratio 2 --norm rmsnorm --precision bf16 --gradient-clip 1 \
        --batch-size 16 --epochs "${EPOCHS:-8}" --evaluation-batch-size 200 \
        --learning-rates "$rates" --seeds "$count" --seeds-at-best-rate \
        --device "${DEVICE:-auto}" "$@"
}

# text OPTIONS…: the same models on running text. Without WikiText-2's training file, nine tenths of its
# validation file are for training, the last tenth for validation, and its test file for tests.
text() {
    recall-bench sweep --task text --data "${WIKITEXT:-$data/wikitext-2}" --store "$store/text" \
        --length 256 --vocab-size 4096 --rare 2 \
        --d-model 384 --mlp-ratio 2 --norm rmsnorm --precision bf16 --gradient-clip 1 \
        --batch-size 16 --epochs 10 --evaluation-batch-size 32 --order interleaved \
        --learning-rates "$rates" --seeds 1 --device "${DEVICE:-auto}" "$@"
}

# main COMMAND…: one point per model.
main() {
    "$@" --arch attention --layers "$four" --num-heads 6 --rotary true
    "$@" --arch sliding-window --layers "$four" --num-heads 6 --rotary true --window 64
    "$@" --arch based --layers "$based" --num-heads 6 --rotary true --window 64 --feature-dim 16
    "$@" --arch mamba --layers "$eight" --d-state 16
    "$@" --arch h3 --layers "$eight" --d-state 32
    "$@" --arch rwkv --layers "$four" --head-dim 32
}

# sizes COMMAND…: other state sizes of the same models.
sizes() {
    "$@" --arch sliding-window --layers "$four" --num-heads 6 --rotary true --window 16,256
    "$@" --arch based --layers "$based" --num-heads 6 --rotary true --window 64 --feature-dim 4,8
    "$@" --arch mamba --layers "$eight" --d-state 4
    "$@" --arch h3 --layers "$eight" --d-state 8
    "$@" --arch rwkv --layers "$four" --head-dim 16,64
}

main swde 1
sizes swde 1
main text
main swde "$seeds"
sizes text

recall-bench export --store "$store/swde" --output "$here/swde.jsonl"
recall-bench export --store "$store/text" --output "$here/text.jsonl"
python3 "$here/figures.py" "${MQAR:-results/quick/records.jsonl}"
