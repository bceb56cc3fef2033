#!/bin/sh
# In the patterns of jsonschema-rs the dot matches line ends that ECMA-262 excludes, though \d and \s are translated.
#
# Expected: JSON Schema patterns are ECMA-262. There `.` stops at \n, \r, U+2028 and U+2029, so `^.+$` asks for one line.
# Happens:  `.` stops at \n alone: a text with \r (old line ends) or U+2028 counts as one line. \s does follow ECMA-262 (it
#           holds U+FEFF and not U+0085), and so does \d, which makes the dot the exception.
# Seen on 30 November 2026 with jsonschema-rs 0.60.3; QuickJS (quickjs 1.19.4) is the judge.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet jsonschema-rs==0.60.3 quickjs==1.19.4
"$dir/venv/bin/python" - <<'EOF'
import json
import sys
from importlib.metadata import version

import jsonschema_rs
import quickjs


def by_ecma(pattern, text):
    return quickjs.Context().eval(f"new RegExp({json.dumps(pattern)}, 'u').test({json.dumps(text)})")


print(*(f"{name} {version(name)}" for name in ("jsonschema-rs", "quickjs")))
expected = {
    (r"^\d$", "\uff13"): (False, False),
    (r"^\s$", "\ufeff"): (True, True),
    (r"^\s$", "\x85"): (False, False),
    (r"^.$", "\n"): (False, False),
    (r"^.$", "\r"): (False, True),
    (r"^.$", "\u2028"): (False, True),
    (r"^.$", "\u2029"): (False, True),
}
changed = False
for (pattern, text), answer in expected.items():
    seen = by_ecma(pattern, text), jsonschema_rs.is_valid({"pattern": pattern}, text)
    print(f"{pattern} on {text!a}: ECMA-262 {seen[0]}, jsonschema-rs {seen[1]}")
    changed |= seen != answer
if changed:
    sys.exit("This has changed.")
EOF
