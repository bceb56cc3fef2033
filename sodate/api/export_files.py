"""The files of an export, by kind. Each writer fills a folder and says what a reader of its card should know."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sodate.core.files import read_json, write_json, write_text
from sodate.core.text import tr
from sodate.core.types import Conversation, ModelFiles
from sodate.library.store import ModelEntry, find
from sodate.release.registry import Version, find_version

if TYPE_CHECKING:
    from sodate.release.modelfile import Write
    from sodate.render.renderer import Renderer

Kind = Literal["adapter", "merged", "gguf", "gguf-lora", "ollama"]
TORCH = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported, how, and from what: `merged` is its model with the adapter in the weights, in float32, once
    that is loaded."""

    name: str
    kind: Kind
    format: str
    files: ModelFiles
    version: Version | None
    renderer: Renderer
    config: dict[str, Any]  # of its base
    asked: Sequence[Conversation]  # what it is tried with
    merged: Any = None

    @property
    def file(self) -> str:
        """The name of its GGUF file."""
        lora = "-lora" if self.kind == "gguf-lora" else ""
        return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name)}{lora}-{self.format}.gguf"


def _adapter(made: Export, stage: Path) -> list[str]:
    assert made.version is not None and made.version.adapter is not None
    shutil.copyfile(made.version.adapter / "adapter_model.safetensors", stage / "adapter_model.safetensors")
    about = read_json(made.version.adapter / "adapter_config.json")
    entry = base_entry(made)
    if entry is not None and entry.source.startswith("hub "):  # then peft finds it by itself
        about |= {"base_model_name_or_path": entry.source.removeprefix("hub "), "revision": entry.revision}
    write_json(stage / "adapter_config.json", about)
    for file in made.files.folder.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens_map", "vocab", "merges", "added_tokens")):
            shutil.copyfile(file, stage / file.name)
    return _speech(made, stage)


def _whole(made: Export, stage: Path) -> list[str]:
    import torch

    from sodate.model.load import save_full

    save_full(made.merged, made.files.folder, stage, getattr(torch, TORCH[made.format]))
    if (stage / "README.md").exists():
        (stage / "README.md").rename(stage / "BASE_README.md")
    return _speech(made, stage)


def _speech(made: Export, stage: Path) -> list[str]:
    """Template, and the tokens that end a reply, where transformers looks for them."""
    template, notes = _template(made)
    write_text(stage / "chat_template.jinja", template)
    config = stage / "tokenizer_config.json"
    if config.exists():
        write_json(config, {k: v for k, v in read_json(config).items() if k != "chat_template"})
    base = made.files.folder / "generation_config.json"
    settings = read_json(base) if base.exists() else {}
    settings.pop("_from_model_config", None)  # it would be made anew from config.json, whose stop may be another
    write_json(stage / "generation_config.json", settings | {"eos_token_id": list(made.renderer.stop_ids)})
    return notes


def _gguf(made: Export, stage: Path) -> list[str]:
    from sodate.library.gguf_write import write_model

    template, notes = _template(made)
    entry = base_entry(made)
    about = {"name": made.files.name} | ({"license": entry.licence} if entry and entry.licence else {})
    others = write_model(
        made.merged.state_dict(), made.files.folder, stage / made.file, format=made.format, template=template,
        stops=made.renderer.stop_ids, about=about,
    )  # fmt: skip
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(others.values()).items()))
        notes.append(
            tr(f"Tensors not kept in {made.format}: {kinds} (the embedding in few bits, or rows that are no "
               "multiple of its blocks).",
               f"{made.format} 以外で保存したテンソル: {kinds} "
               "(少ないビット数での埋め込み、またはブロックの倍数でない行)")
        )  # fmt: skip
    return notes


def _gguf_lora(made: Export, stage: Path) -> list[str]:
    from sodate.library.gguf_write import write_lora

    assert made.version is not None and made.version.adapter is not None
    write_lora(made.version.adapter, made.config, stage / made.file, format=made.format)
    template, notes = _template(made)
    write_text(stage / "chat_template.jinja", template)
    return notes


def _ollama(made: Export, stage: Path) -> list[str]:
    from sodate.release import modelfile

    notes = _gguf(made, stage)
    form = modelfile.learn(_write(made, stage))
    stops = [made.renderer.decode([stop]) for stop in made.renderer.stop_ids]
    licence = made.files.folder / "LICENSE"
    text = modelfile.modelfile(
        made.file, form, stops, int(made.config["max_position_embeddings"]),
        licence.read_text("utf-8") if licence.is_file() else None,
    )  # fmt: skip
    write_text(stage / "Modelfile", text)
    return [*notes, tr("Ollama itself was not run: its TEMPLATE was compared as text, the file with llama.cpp.",
                       "Ollama 自体では未確認です。TEMPLATE は文字列として、ファイルは llama.cpp で確かめました。"),
            tr("The TEMPLATE has no tools, and trims nothing around a message.",
               "TEMPLATE はツールに対応せず、メッセージ前後の空白も削りません。")]  # fmt: skip


def ollama_texts(made: Export, stage: Path) -> tuple[list[str], list[list[int]]]:
    """What the TEMPLATE makes of the conversations without tools, as Ollama gives it to its tokenizer, and the ids
    that have to come of it. Raises SodateError where the chat template makes another text."""
    from sodate.release import modelfile

    form = modelfile.learn(_write(made, stage))
    plain = [[m for m in one.messages if m.role != "tool" and not m.tool_calls] for one in made.asked]
    told = [[m for m in messages if form.system or m.role != "system"] for messages in plain]
    texts = modelfile.check(form, _write(made, stage), told)
    return texts, [made.renderer.prompt(messages) for messages in told]


WRITERS: dict[Kind, Callable[[Export, Path], list[str]]] = {
    "adapter": _adapter, "merged": _whole, "gguf": _gguf, "gguf-lora": _gguf_lora, "ollama": _ollama,
}  # fmt: skip


def _template(made: Export) -> tuple[str, list[str]]:
    """The chat template as another program gets it: the day that it prints is written into it."""
    date = made.renderer.date
    if date is None:
        return made.renderer.template, []
    asked = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
    text = asked.sub(lambda found: repr(date.strftime(found[2])), made.renderer.template)
    return text, [tr(f"The chat template prints a day; here it is always {date.isoformat()}, as in training.",
                     f"チャットテンプレートの日付は、学習時の {date.isoformat()} に固定されています。")]  # fmt: skip


def _write(made: Export, stage: Path) -> Write:
    """What the chat template makes of messages, without what the engine puts before it by itself (BOS)."""
    from sodate.library.gguf_file import read_gguf

    first = made.renderer.bos_token if read_gguf(stage / made.file).metadata["tokenizer.ggml.add_bos_token"] else ""
    return lambda messages: made.renderer.decode(made.renderer.prompt(messages)).removeprefix(first)


def base_entry(made: Export) -> ModelEntry | None:
    """The base model in the store that this was made from; None where it is not there any more."""
    name = made.name
    while (version := find_version(name)) is not None:
        name = version.manifest["base"]
    return find(name)


def base_weights(made: Export) -> Any:
    """The tensors of the model as they are without the adapter, by name."""
    from sodate.api.loading import with_adapter

    return with_adapter(replace(made.files, adapter=None), "cpu", "float32")[0].state_dict()
