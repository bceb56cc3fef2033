#!/bin/sh
# The probabilities that llama.cpp tells of a whole vocabulary do not sum to one.
#
# Expected: exp of the log-probabilities that the server tells for all tokens of a place sum to 1 within 1e-6.
# Happens:  the sum of its softmax is taken in float32, one term after the other, and is a ten-thousandth off with 49,152
#           tokens. Whoever takes what was not told as 1 - sum gets a negative probability; a divergence has this in it.
# Seen on 30 November 2026 with xllamacpp 2026.10.11549.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import http.client
import json
import os
import sys

import gguf
import numpy as np
import xllamacpp

ROWS, WIDTH = 49_152, 32
random = np.random.default_rng(0)
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_type("model")
for add, value in ((writer.add_context_length, 64), (writer.add_embedding_length, WIDTH), (writer.add_block_count, 1),
                   (writer.add_feed_forward_length, WIDTH), (writer.add_head_count, 1), (writer.add_head_count_kv, 1),
                   (writer.add_layer_norm_rms_eps, 1e-5), (writer.add_vocab_size, ROWS)):
    add(value)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list([f"t{number}" for number in range(ROWS)])
writer.add_token_types([1] * ROWS)
writer.add_token_merges(["t 0"])
for name, shape in {"token_embd": (ROWS, WIDTH), "output": (ROWS, WIDTH), "output_norm": (WIDTH,),
                    "blk.0.attn_norm": (WIDTH,), "blk.0.ffn_norm": (WIDTH,), "blk.0.attn_q": (WIDTH, WIDTH),
                    "blk.0.attn_k": (WIDTH, WIDTH), "blk.0.attn_v": (WIDTH, WIDTH),
                    "blk.0.attn_output": (WIDTH, WIDTH), "blk.0.ffn_up": (WIDTH, WIDTH),
                    "blk.0.ffn_gate": (WIDTH, WIDTH), "blk.0.ffn_down": (WIDTH, WIDTH)}.items():
    writer.add_tensor(f"{name}.weight", random.normal(0, 1, shape).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

params = xllamacpp.CommonParams()
params.model.path = "model.gguf"
params.n_ctx, params.n_parallel, params.port, params.verbosity = 64, 1, 0, 0
params.warmup = params.fit_params = False
server = xllamacpp.Server(params)
connection = http.client.HTTPConnection(server.listening_address.rpartition("/")[2])
asked = {"prompt": [5, 6, 7], "n_predict": 1, "temperature": 0, "n_probs": ROWS}
connection.request("POST", "/completion", json.dumps(asked), {"Content-Type": "application/json"})
told = json.loads(connection.getresponse().read())["completion_probabilities"][0]["top_logprobs"]
total = float(np.exp(np.array([one["logprob"] for one in told], np.float64)).sum())
print(f"xllamacpp {xllamacpp.__version__}: {len(told)} tokens, sum of their probabilities {total:.7f}")
if abs(total - 1) < 1e-6:
    print("This has changed.")
sys.stdout.flush()
os._exit(int(abs(total - 1) < 1e-6))  # its threads outlive an ordinary exit
EOF
