#!/bin/sh
# The client of 2023 against a running server: sh bench/clients/openai_0_28.sh URL KEY MODEL
# e.g. http://127.0.0.1:8000/v1 sk-sodate-… davinci, where the server has --alias davinci=smollm2-135m
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openai==0.28.1
BASE=$1 KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/openai_0_28_client.py"
