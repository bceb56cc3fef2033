#!/bin/sh
# SFT → DPO → GRPO as the commands a person would type, and the table answered × right. Usage: sh examples/honesty/run.sh
set -eu
cd "$(dirname "$0")"
result=$(mktemp)
trap 'rm -f "$result"' EXIT
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

run sodate models pull smollm2-135m
run sodate train sft.yaml
run sodate train dpo.yaml
run sodate train grpo.yaml
for data in familiar heldout; do
    command="sodate eval honesty-sft honesty-dpo honesty --baseline smollm2-135m --data $data.jsonl --grader honest --max-tokens 24"
    printf '\n\033[1m$ %s\033[0m\n\n' "$command"
    $command --json > "$result"
    python table.py "$result" --data "$data.jsonl"
done
