#!/bin/sh
# lm-eval against a running server: sh bench/clients/lm_eval.sh URL KEY MODEL TOKENIZER
# TOKENIZER is the folder of the base model, as `sodate models show` prints it: lm-eval makes the token ids itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "lm_eval[api]==0.4.13" transformers
cp "$here"/lm_eval_tasks/* "$folder/"
cd "$folder"
export OPENAI_API_KEY=$2 HF_HUB_OFFLINE=1
venv/bin/lm_eval --model local-completions --tasks sodate_choice --include_path . --model_args \
  "model=$3,base_url=$1/completions,tokenizer_backend=huggingface,tokenizer=$4,num_concurrent=1,max_retries=1"
venv/bin/lm_eval --model local-chat-completions --tasks sodate_written --include_path . --apply_chat_template \
  --model_args "model=$3,base_url=$1/chat/completions,num_concurrent=1,max_retries=1"
