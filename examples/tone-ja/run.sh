#!/bin/sh
# Politeness twice: by preferences, and by a reward model with PPO; then both measured. Usage: sh examples/tone-ja/run.sh
set -eu
cd "$(dirname "$0")"
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

run sodate models pull gemma3-270m
run sodate train start.yaml
run sodate train dpo.yaml
run sodate train judge.yaml
run sodate train ppo.yaml
run sodate eval tone-dpo tone-ppo --baseline tone-start --data asked.jsonl --grader python:polite.py --max-tokens 48
