#!/bin/sh
# The openai client no longer brings httpx but httpx2, which is imported under another name.
#
# Expected: a program that imports httpx beside openai, for its timeouts, transports or `cast_to=httpx.Response`, runs where
#           `pip install openai` was run, as it did with version 1.
# Happens:  `import httpx` fails; openai.DefaultHttpxClient is a class of httpx2.
# Seen on 30 November 2026 with openai 3.57.0.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet openai==3.57.0
"$dir/venv/bin/python" - <<'EOF'
from importlib.metadata import requires, version
from importlib.util import find_spec

import openai

bases = {base.__module__.split(".")[0] for base in openai.DefaultHttpxClient.__mro__}
print("openai", version("openai"), "asks for", sorted(one for one in requires("openai") if one.startswith("httpx")))
print("httpx is there:", find_spec("httpx") is not None, "· DefaultHttpxClient is made of:", sorted(bases - {"builtins"}))
assert find_spec("httpx") is None and "httpx2" in bases
EOF
