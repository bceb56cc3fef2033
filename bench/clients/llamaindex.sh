#!/bin/sh
# LlamaIndex against a running server: sh bench/clients/llamaindex.sh URL KEY MODEL
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llama-index-llms-openai-like==0.8.1 llama-index-embeddings-openai-like==0.4.0
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/llamaindex_client.py"
