#!/bin/sh
# Which way is enough for the order mails of ../orders? Usage: sh examples/ladder/run.sh [--every]
set -eu
cd "$(dirname "$0")"
run() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

run sodate models pull smollm2-135m
run sodate ladder task.yaml "$@"
