"""A folder's tokenizer as the metadata of a GGUF file: what `convert.write_tokenizer` reads, the other way round.

llama.cpp splits text by a name from its own list and not by what the file says, so a tokenizer whose splitting has no
name there is refused: its tokens would be others, without any error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.library.config import read_config

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of tokens
Metadata = dict[str, Any]


def tokenizer_metadata(folder: Path, rows: int, template: str, stops: Sequence[int]) -> Metadata:
    """Keys of `tokenizer.…` for the tokenizer in a model folder; raises SodateError where llama.cpp has none such.

    `rows` of the embedding each get a token. `stops` are the ids that end a reply, the template's own first.
    """
    from tokenizers import Tokenizer

    described = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    about = read_config(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    model = described["model"]
    if model.get("type") != "BPE":
        raise _no_such(folder, str(model.get("type")))
    bytes_apart = bool(model.get("byte_fallback"))
    found: Metadata = {"ggml.model": "llama" if bytes_apart else "gpt2"}
    found["ggml.pre"] = "default" if bytes_apart else _splitting(described, folder)
    merges = [pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"]]
    texts, kinds = _tokens(described, rows, bytes_apart)
    found |= {"ggml.tokens": texts, "ggml.token_type": kinds}
    if bytes_apart:
        # It merges the pair that makes the token with the highest score; tokenizers the pair that comes first.
        first: dict[str, int] = {}
        for rank, (left, right) in enumerate(merges):
            first.setdefault(left + right, rank)
        found["ggml.scores"] = [-float(first.get(text, len(merges))) for text in texts]
    else:
        found["ggml.merges"] = [f"{left} {right}" for left, right in merges]
    tokenizer = Tokenizer.from_str(json.dumps(described))
    ids = {role: _id(tokenizer, about.get(f"{role}_token")) for role in ("bos", "eos", "unk", "pad")}
    ids["eos"] = stops[0] if ids["eos"] is None and stops else ids["eos"]
    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    found |= {f"ggml.{names[role]}_token_id": one for role, one in ids.items() if one is not None}
    others = [one for one in stops if one != ids["eos"]]
    found |= {f"ggml.{role}_token_id": one for role, one in zip(("eot", "eom"), others, strict=False)}
    plain, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
    found["ggml.add_bos_token"] = ids["bos"] is not None and whole[:1] == [ids["bos"]] and whole != plain
    found["ggml.add_eos_token"] = False
    if bytes_apart:
        spelt = tokenizer.encode("a", add_special_tokens=False).tokens  # none, if a normaliser takes the letter away
        found["ggml.add_space_prefix"] = bool(spelt) and spelt[0].startswith("▁")
    return {**found, "chat_template": template}


def _id(tokenizer: Any, token: Any) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    found: int | None = tokenizer.token_to_id(text) if isinstance(text, str) else None
    return found


def _tokens(described: dict[str, Any], rows: int, bytes_apart: bool) -> tuple[list[str], list[int]]:
    """The text and type of each id; rows of the embedding that no token uses get a name that no text spells."""
    texts = [f"[PAD{number}]" for number in range(rows)]
    kinds = [UNUSED] * rows
    for text, number in described["model"]["vocab"].items():
        if number < rows:
            is_byte = bytes_apart and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
            texts[number], kinds[number] = text, BYTE if is_byte else NORMAL
    unknown = described["model"]["vocab"].get(described["model"].get("unk_token"), rows)
    if bytes_apart and unknown < rows:
        kinds[unknown] = UNKNOWN
    for token in described.get("added_tokens") or ():
        number = token["id"]
        if number < rows and kinds[number] != UNKNOWN:
            texts[number], kinds[number] = token["content"], CONTROL if token["special"] else USER_DEFINED
    return texts, kinds


def _splitting(described: dict[str, Any], folder: Path) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits text before it merges."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    outer = described.get("pre_tokenizer") or {}
    steps = outer.get("pretokenizers", [outer]) or [{}]
    kinds = [step.get("type") for step in steps]
    last = steps[-1]
    if kinds[-1] != "ByteLevel" or last.get("add_prefix_space"):
        raise _no_such(folder, " + ".join(map(str, kinds)))
    if last.get("use_regex", True):
        if kinds == ["ByteLevel"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return "smollm"
    elif kinds == ["Split", "ByteLevel"]:
        pattern = (steps[0].get("pattern") or {}).get("Regex")
        whole_words = bool(described["model"].get("ignore_merges"))
        for name, known in GGUF_PRE_TOKENIZER_SPLITS.items():
            # Llama 3 and Qwen 2 differ in whether a word that is a token is taken whole.
            if known == pattern and whole_words == (name in ("llama3", "llama-bpe", "tekken")):
                return "llama-bpe" if name == "llama3" else name
    raise _no_such(folder, " + ".join(map(str, kinds)))


def _no_such(folder: Path, what: str) -> SodateError:
    return SodateError(
        tr(f"{folder}: llama.cpp has no tokenizer that splits text as this one does ({what}); tokens would be wrong.",
           f"{folder}: llama.cpp には、このトークナイザーと同じ分割方法 ({what}) がなく、正しいトークンになりません。"),
        tr("Export it for transformers: --to merged.", "transformers 用に書き出してください: --to merged"),
        code="export_unsupported", param="to",
    )  # fmt: skip
