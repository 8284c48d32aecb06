#!/bin/sh
# Every run of results/tasks, then its export, table and figures. A second call continues the first.
# sh results/tasks/run.sh [STORE] [more options for `recall-bench sweep`, such as --processes 16]
set -eu
here=results/tasks
store="${1:-runs/results-tasks}"
[ $# -eq 0 ] || shift
[ ! -f $here/records.jsonl ] || recall-bench import $here/records.jsonl --store "$store"
recall-bench sweep --suite quick --store "$store" \
    --arch attention,based,mamba,h3,rwkv,sliding-window "$@"
recall-bench export --store "$store" --output $here/records.jsonl
recall-bench report --suite quick --store $here/records.jsonl --markdown > $here/table.md
recall-bench plot --suite quick --store $here/records.jsonl --output $here/tasks.png
for task in induction copying; do
    recall-bench plot --task $task --by length --store $here/records.jsonl \
        --output $here/$task.png
done
recall-bench report --suite quick --store $here/records.jsonl
