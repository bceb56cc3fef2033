#!/bin/sh
# llguidance reads the character classes of a pattern by the rules of Rust, where --, ~~, && and [ inside [] are operators.
#
# Expected: a `pattern` follows ECMA-262, as JSON Schema says. `[+--]` is the range from + to -: it holds + , and -.
# Happens:  llguidance reads "+ without -" and allows + alone. `[a~~b]` loses its ~. `[a&&b]` is refused as empty.
#           With `[[0-9]` (a bracket or a digit, and valid under the u flag) the schema is refused as well. jsonschema-rs
#           translates these classes, so the engine that constrains and the one that checks differ over one schema.
# Seen on 30 November 2026 with llguidance 1.9.1 and jsonschema-rs 0.60.3; QuickJS (quickjs 1.19.4) is the judge.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet llguidance==1.9.1 jsonschema-rs==0.60.3 quickjs==1.19.4
"$dir/venv/bin/python" - <<'EOF'
import json
import sys
from importlib.metadata import version

import jsonschema_rs
import llguidance
import quickjs

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


def by_llguidance(pattern, text):
    schema = {"type": "string", "pattern": pattern}
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return "refused" if llguidance.LLMatcher.validate_grammar(grammar, tokenizer) else may_write(schema, json.dumps(text))


def by_ecma(pattern, text):
    return quickjs.Context().eval(f"new RegExp({json.dumps(pattern)}, 'u').test({json.dumps(text)})")


print(*(f"{name} {version(name)}" for name in ("llguidance", "jsonschema-rs", "quickjs")))
expected = {
    ("^[+--]$", "+"): True, ("^[+--]$", ","): False, ("^[+--]$", "-"): False,
    ("^[a~~b]$", "a"): True, ("^[a~~b]$", "~"): False,
    ("^[a&&b]$", "a"): "refused", ("^[a&&b]$", "&"): "refused",
    ("^[[0-9]$", "["): "refused", ("^[[0-9]$", "7"): "refused",
}
changed = False
for (pattern, text), answer in expected.items():
    seen = by_ecma(pattern, text), jsonschema_rs.is_valid({"pattern": pattern}, text), by_llguidance(pattern, text)
    print(f"{pattern} on {text}: ECMA-262 {seen[0]}, jsonschema-rs {seen[1]}, llguidance {seen[2]}")
    changed |= seen != (True, True, answer)
if changed:
    sys.exit("This has changed.")
EOF
