#!/bin/sh
# promptfoo against a running server: sh bench/clients/promptfoo.sh URL KEY MODEL
# It needs a newer node than many systems have, which npm brings along.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" node@22.22.0
export PATH="$folder/node_modules/.bin:$PATH"
npm install --silent --no-audit --no-fund --prefix "$folder" promptfoo@0.123.1
cp "$here/promptfoo.yaml" "$folder/"
export OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 PROMPTFOO_CONFIG_DIR="$folder/kept"
export PROMPTFOO_DISABLE_TELEMETRY=1 PROMPTFOO_DISABLE_UPDATE=1 PROMPTFOO_DISABLE_SHARING=1
promptfoo eval --config "$folder/promptfoo.yaml" --no-cache --no-progress-bar --max-concurrency 2
