"""A vocabulary of numbers, for an engine that is given ids and gives ids back: the token of id 17 is spelled `<17>`.

llama.cpp streams text. A token that holds part of a character is kept back until the rest has come, and is then told
neither by its id nor with a log-probability. Where every token's text is its number, each is told as it comes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import atomic_file
from sodate.core.text import tr
from sodate.library.gguf_file import ARRAY, STRING, GgufFile, copy

INT32 = 5  # a value's type
NORMAL = 1  # a token's
# The one kind of vocabulary in llama.cpp that has neither merges nor scores, nor an end of text unless it is named:
# a reply ends where the engine before it says so.
KIND = "rwkv"


def numbered(size: int) -> dict[str, Any]:
    """The metadata of such a vocabulary, without `tokenizer.` in front."""
    return {"ggml.model": KIND, "ggml.tokens": [f"<{i}>" for i in range(size)], "ggml.token_type": [NORMAL] * size}


def vocabulary_size(gguf: GgufFile) -> int:
    """Ids that the model has rows for."""
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list):
        raise SodateError(
            tr(f"{gguf.path} has no vocabulary.", f"{gguf.path} に語彙がありません。"), code="damaged", file=gguf.path
        )
    return len(tokens)


def write_numbered(source: GgufFile, target: Path) -> None:
    """Writes a copy with such a vocabulary, whole or not at all. The tensors are the same, byte for byte."""
    about = numbered(vocabulary_size(source))
    kept = [span for key, span in source.spans.items() if not key.startswith("tokenizer.")]
    with atomic_file(target) as write:
        copy(source, write, kept, [_entry(f"tokenizer.{key}", value) for key, value in about.items()])


def _entry(key: str, value: str | list[Any]) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", STRING) + _text(value)
    texts = isinstance(value[0], str)
    items = b"".join(_text(item) if texts else struct.pack("<i", item) for item in value)
    return _text(key) + struct.pack("<IIQ", ARRAY, STRING if texts else INT32, len(value)) + items


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
