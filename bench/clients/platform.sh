#!/bin/sh
# A program for OpenAI's fine-tuning platform, unchanged but for URL and key: sh bench/clients/platform.sh URL KEY MODEL
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openai==3.57.0 httpx
OPENAI_BASE_URL=$1 OPENAI_API_KEY=$2 MODEL=$3 "$folder/venv/bin/python" "$(dirname "$0")/platform_client.py"
