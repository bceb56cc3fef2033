#!/bin/sh
# llguidance counts a key that is written twice as two properties.
#
# Expected: under `minProperties: 2` a model has to write two different keys, because the object that comes out is counted.
# Happens:  `{"a":1,"a":1}` fulfils the grammar. Every JSON reader makes one property of it, and validation refuses the
#           reply. Keys under `properties` can be written once only; keys under `additionalProperties` are not watched.
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


schema = {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2}
declared = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "integer"}}
print("llguidance", version("llguidance"), "jsonschema-rs", version("jsonschema-rs"))
seen = []
for text in ('{"a":1}', '{"a":1,"b":1}', '{"a":1,"a":1}'):
    seen.append((may_write(schema, text), jsonschema_rs.is_valid(schema, json.loads(text))))
    print(f"{text}: can be written {seen[-1][0]}, is valid {seen[-1][1]}")
twice = may_write(declared, '{"a":1,"a":1}')
print(f"the same key under properties, twice: can be written {twice}")
if seen != [(False, False), (True, True), (True, False)] or twice:
    sys.exit("This has changed.")
EOF
