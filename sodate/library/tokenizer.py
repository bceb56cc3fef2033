"""Whether a model folder's tokenizer is one, and belongs to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.library.config import read_config

MAX_TEMPLATE_CHARS = 1_000_000


def check_tokenizer(folder: Path, embeddings: int) -> tuple[int, bool]:
    """(vocabulary, has a chat template) of the folder's tokenizer. Every id must have one of `embeddings` rows.

    A tokenizer in older files is written as tokenizer.json beside them: that is what renders.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.exists():
        _convert_tokenizer(folder)
    about = read_config(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    template = _template(folder, about)
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = about.get(key)
        if not isinstance(token.get("content") if isinstance(token, dict) else token, str | None):
            raise unreadable(folder, f"{key} is not a text")
    tokenizer = Tokenizer.from_file(str(file))
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    # Special tokens may lie past the end (image marks on a text model): nothing written by a user becomes one.
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    highest = max((number for number in vocabulary.values() if number not in special), default=-1)
    if highest < 0 or highest >= embeddings:
        raise SodateError(
            tr(
                f"{folder}: the tokenizer has id {highest}, but the model has {embeddings} embeddings.",
                f"{folder}: トークナイザーに ID {highest} がありますが、埋め込みは {embeddings} 個です。",
            ),
            tr(
                "The tokenizer and the weights belong to different models.",
                "トークナイザーと重みが別のモデルのものです。",
            ),
            code="damaged",
            file=folder,
        )
    return len(vocabulary), template


def _convert_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    from sodate.library.convert import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise unreadable(folder, f"{type(tokenizer).__name__} has no tokenizer.json")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def _template(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether the folder has a chat template. SodateError on one that is not text, or far too long for one."""
    file, named = folder / "chat_template.jinja", about.get("chat_template")
    texts = (
        [entry.get("template") if isinstance(entry, dict) else None for entry in named]
        if isinstance(named, list)
        else [named]
        if named is not None
        else []
    )
    if file.exists():
        if file.stat().st_size > 4 * MAX_TEMPLATE_CHARS:
            raise unreadable(folder, "its chat template is too long")
        try:
            texts.append(file.read_text("utf-8"))
        except UnicodeDecodeError:
            raise unreadable(folder, "its chat template is not UTF-8") from None
    if any(not isinstance(text, str) or len(text) > MAX_TEMPLATE_CHARS for text in texts):
        raise unreadable(folder, "its chat template is not a text, or too long")
    return any(texts)


def unreadable(folder: Path, why: str) -> SodateError:
    return SodateError(
        tr(f"{folder}: the tokenizer cannot be read ({why}).", f"{folder}: トークナイザーを読めません ({why})。"),
        code="damaged",
    )
