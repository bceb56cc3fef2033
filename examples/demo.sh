#!/bin/sh
# The main job, as the commands a person would type. Usage: sh examples/demo.sh orders|support-ja
set -eu
cd "$(dirname "$0")/$1"
bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { bold "\$ $*"; "$@"; }

case "$1" in
orders)
  model=smollm2-135m
  graders="--grader fields:mode=exact --grader fields --grader json --grader json_schema:schema.json"
  extra="--shots fewshot.jsonl"
  ;;
support-ja)
  model=gemma3-270m
  graders="--grader rules:rules.yaml"
  extra="--shots fewshot.jsonl"
  ;;
*) echo "usage: demo.sh orders|support-ja" >&2; exit 2 ;;
esac

started=$(date +%s)
run sodate models pull $model
run sodate data check train.jsonl --against heldout.jsonl --model $model || true
run sodate train recipe.yaml
run sodate eval "$1" --baseline $model $extra --data heldout.jsonl $graders
seconds=$(($(date +%s) - started))
minutes=$((seconds / 60)) rest=$((seconds % 60))
case "${SODATE_LANG:-${LC_ALL:-${LC_MESSAGES:-${LANG:-}}}}" in
ja*)
  bold "$minutes 分 $rest 秒で終わりました。次は:"
  talk="学習したモデルと話す" check="自分の行を検査する" train="自分の行で学習する"
  ;;
*)
  bold "Done in $minutes min $rest s. Next:"
  talk="talk with the tuned model" check="check your own rows" train="train on them"
  ;;
esac
cat <<EOF
  sodate chat $1                                   $talk
  sodate data check your.jsonl                     $check
  sodate train --model $model --data your.jsonl    $train
EOF
