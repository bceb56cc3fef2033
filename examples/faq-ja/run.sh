#!/bin/sh
# Retrieval, a tuned tone and citations as the commands a person would type. Usage: sh examples/faq-ja/run.sh
set -eu
cd "$(dirname "$0")"
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

run sodate models pull gemma3-270m
run sodate index build documents --name faq-ja
run sodate index tune faq-ja --questions search.jsonl
run sodate data with-context train.jsonl --index faq-ja --out train-faq.jsonl
run sodate data with-context valid.jsonl --index faq-ja --out valid-faq.jsonl
run sodate train recipe.yaml
run sodate eval faq-ja --baseline gemma3-270m --index faq-ja --data heldout.jsonl --cluster fact --slice answerable \
    --grader honest --grader citations --max-tokens 64
