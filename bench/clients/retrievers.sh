#!/bin/sh
# Retrievers of LangChain and LlamaIndex over vector stores of a running server: sh bench/clients/retrievers.sh URL KEY MODEL
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q langchain-openai==1.7.4 llama-index-core==0.14.25 openai==3.57.0
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/retrievers_client.py"
