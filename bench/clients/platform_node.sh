#!/bin/sh
# The program of platform.sh with openai-node: sh bench/clients/platform_node.sh URL KEY MODEL
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cp "$(dirname "$0")/platform_client.mjs" "$folder/"
npm install --silent --no-audit --no-fund --prefix "$folder" openai@7.59.0
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 node "$folder/platform_client.mjs"
