#!/bin/sh
# An added token with letters like é cannot be decoded by a byte-level tokenizer, though one in Japanese can.
#
# Expected: what add_tokens adds comes back from decode as it was written.
# Happens:  the decoder takes each letter of the added token for a stand-in for one byte where it can. The letters of
#           Latin-1 are such stand-ins, so "café" becomes bytes that are not UTF-8, and "caf" with U+FFFD comes out. One
#           character outside that alphabet (日本, or a space) saves the whole token. The ids are right throughout.
# Seen on 30 November 2026 with tokenizers 0.23.3.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet tokenizers==0.23.3
"$dir/venv/bin/python" - <<'EOF'
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
words = ["café", "über", "日本", "café au lait"]
before = [tokenizer.decode(tokenizer.encode(word).ids) for word in words]
print("tokenizers", tokenizers.__version__)
after = []
for word in words:
    tokenizer.add_tokens([word])
    after.append(tokenizer.decode(tokenizer.encode(word).ids))
    print(f"{word!a}: decoded as {after[-1]!a} once it is a token of its own")
if before != words or after != ["caf\ufffd", "\ufffdber", "日本", "café au lait"]:
    sys.exit("This has changed.")
EOF
