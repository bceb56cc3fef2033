#!/bin/sh
# LangChain against a running server: sh bench/clients/langchain.sh URL KEY MODEL, e.g. http://127.0.0.1:8000/v1 none orders
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q langchain-openai==1.7.4
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/langchain_client.py"
