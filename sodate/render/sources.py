"""Which chat template a model folder gets: the one asked for, its own, or `plain` for a base model without one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.render.template import built_in

NAMES = ("chatml", "gemma", "llama3", "plain")


# Only the end-of-text token: the one control token pretraining has taught a base model. Gemma-3-270M has rows for
# <end_of_turn> too, but they are untrained; after 20 steps it still ran past them and did stop at <eos>.
FOR_BASE_MODELS = "plain"


def pick(folder: Path, config: Mapping[str, Any], wanted: str | None) -> tuple[str, str]:
    """(template text, where it is from). `config` is tokenizer_config.json; `wanted` as in `Renderer.from_folder`."""
    if wanted is not None:
        return _named(wanted)
    own = _own(folder, config)
    if own is not None:
        return own, "model"
    return built_in(FOR_BASE_MODELS), f"built-in:{FOR_BASE_MODELS}"


def token_text(value: Any) -> str:
    """A token of tokenizer_config.json, written as text or as an object with `content`; "" where there is none."""
    return str(value.get("content", "")) if isinstance(value, dict) else value or ""


def stop_ids(folder: Path, vocabulary: int) -> list[int]:
    """Token ids that generation_config.json says end a reply: gpt-oss and Llama 3 have more than a template shows."""
    path = folder / "generation_config.json"
    try:
        given = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.exists() else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    many = given if isinstance(given, list) else [given]
    return [i for i in many[:32] if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < vocabulary]


def _own(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        return file.read_text("utf-8")
    own = config.get("chat_template")
    if isinstance(own, list):  # several named templates: the field's default is called "default"
        own = next((t["template"] for t in own if t.get("name") == "default"), None)
    return own


def _named(name: str) -> tuple[str, str]:
    if "{" in name:
        return name, "given"
    if name.endswith(".jinja"):
        path = Path(name)
        if not path.exists():
            raise SodateError(
                tr(f"Template file {name} is not there.", f"テンプレート {name} がありません。"),
                code="file_missing",
                param="template",
                file=name,
            )
        return path.read_text("utf-8"), f"file:{path.name}"
    if name not in NAMES:
        raise SodateError(
            tr(f"There is no built-in template {name!r}.", f"組み込みテンプレート {name!r} はありません。"),
            tr(
                f"Use {', '.join(NAMES)} or a .jinja file.",
                f"{'、'.join(NAMES)} か .jinja ファイルを指定してください。",
            ),
            code="unknown_template",
            param="template",
        )
    return built_in(name), f"built-in:{name}"
