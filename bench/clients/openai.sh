#!/bin/sh
# The official Python client against a running server: sh bench/clients/openai.sh URL KEY MODEL
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openai==3.57.0 pydantic
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/openai_client.py"
