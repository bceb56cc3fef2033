#!/bin/sh
# llguidance rounds the integers of a JSON schema to float64. A model held to the schema must write another number.
#
# Expected: `{"const": 1234567890123456789}` (an identifier of 64 bits, as databases give out) can be written as it stands.
# Happens:  the grammar forbids that number and allows only 1234567890123456768, which the schema itself refuses. The same
#           with enum, and with the bounds of a range. Nothing is reported. Beyond 2^53 only.
# Seen on 30 November 2026 with llguidance 1.9.1; jsonschema-rs 0.60.3 is the judge.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet llguidance==1.9.1 jsonschema-rs==0.60.3
"$dir/venv/bin/python" - <<'EOF'
import json
import sys
from importlib.metadata import version

import jsonschema_rs
import llguidance

class Bytes:
    """A vocabulary of the 256 bytes and an end token."""

    tokens = [bytes([i]) for i in range(256)] + [b"\xff<end>"]
    special_token_ids = [256]
    eos_token_id = 256
    bos_token_id = None

    def __call__(self, text):
        return list(text.encode() if isinstance(text, str) else text)


tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


def may_write(schema, text):
    """Whether a model held to the schema can write exactly this text and stop."""
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    written = list(text.encode())
    return matcher.try_consume_tokens(written) == len(written) and matcher.is_accepting()


small, exact, rounded = 1234567890, 1234567890123456789, 1234567890123456768
schemas = [
    {"const": exact},
    {"enum": [exact]},
    {"type": "integer", "minimum": exact, "maximum": exact + 1},
]
print("llguidance", version("llguidance"), "jsonschema-rs", version("jsonschema-rs"))
seen = [(may_write({"const": small}, str(small)), jsonschema_rs.is_valid({"const": small}, small))]
print(f"const {small}: can be written {seen[0][0]}, is valid {seen[0][1]}")
for schema in schemas:
    for number in (exact, rounded):
        seen.append((may_write(schema, str(number)), jsonschema_rs.is_valid(schema, number)))
        print(f"{json.dumps(schema)}: {number} can be written {seen[-1][0]}, is valid {seen[-1][1]}")
if seen != [(True, True)] + [(False, True), (True, False)] * 3:
    sys.exit("This has changed.")
EOF
