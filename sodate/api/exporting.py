"""`export`: a version as files that another engine runs, with the same answers, or no files at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from sodate.api import agreement
from sodate.api.export_files import TORCH, WRITERS, Export, Kind, base_entry, base_weights, ollama_texts
from sodate.core import home, progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_folder, read_json, sha256_file, write_text
from sodate.core.signals import ended_as_by_ctrl_c
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.release.card import Facts, card
from sodate.release.lookup import look_up
from sodate.release.registry import Version, find_version

USUAL = {"adapter": "f32", "gguf": "f16", "gguf-lora": "f32", "ollama": "q8_0"}  # formats; merged: as its base
NEEDS = {"adapter": "peft", "merged": "transformers", **dict.fromkeys(("gguf", "gguf-lora", "ollama"), "xllamacpp")}
ENGINES = {"xllamacpp": "llama.cpp"}  # by another name than their package's
EXTRA = {"peft": "peft", "xllamacpp": "llamacpp"}
ROOM = 4096  # tokens of context that an export is tried with


def export(name: str, *, to: Kind, out: str | Path, format: str = "auto") -> dict[str, Any]:
    """Writes the version or base model `name` as the new folder `out`; returns its files and how far they agree.

    `to`: adapter (a PEFT folder), merged (a folder for transformers), gguf and gguf-lora (files for llama.cpp), ollama
    (GGUF and Modelfile). `format` is what numbers are kept in, by default that of the base for `merged`, f32 for
    adapters, f16 for GGUF and q8_0 for Ollama. The engine that the files are for loads them, in a process of its own;
    where it does not answer as the version does, that is an error and there is no folder.
    """
    from sodate.api.loading import load

    target = Path(out).expanduser()
    with ended_as_by_ctrl_c(), _placed(target) as stage:
        made = _prepared(name, to, format)
        progress.report("export", 0, 3)
        replies = agreement.own_replies(load(made.name, device="cpu"), made.asked)
        made = replace(made, merged=_merged(made.files))  # only now: one model at a time is held
        own = agreement.own_answers(made.renderer, made.merged, made.asked, replies)
        notes = WRITERS[to](made, stage)
        progress.report("export", 1, 3)
        with tempfile.TemporaryDirectory(prefix="sodate-") as aside:
            answers, logs = _asked(made, own, stage, Path(aside))
        progress.report("export", 2, 3)
        found = agreement.compare(own, made.merged, answers, logs, agreement.BOUNDS[made.format])
        found |= {"engine": ENGINES.get(NEEDS[to], NEEDS[to]), "package": f"{NEEDS[to]} {metadata.version(NEEDS[to])}"}
        notes += _warned(found, made.format)
        _finish(made, stage, found, notes)
    progress.report("export", 3, 3)
    files = [str(file) for file in sorted(target.rglob("*")) if file.is_file()]
    about = {"version": made.files.name, "to": to, "format": made.format, "out": str(target), "files": files}
    return {**about, "notes": [str(note) for note in notes], "agreement": found}


@contextmanager
def _placed(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all in it is right, and is gone otherwise. An empty one may be there."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            tr(f"{target} is there already.", f"{target} はすでにあります。"),
            tr("Choose a folder that is not: --out DIR.", "まだないフォルダーを指定してください: --out DIR"),
            code="bad_value", param="out", file=target,
        )  # fmt: skip
    with atomic_folder(target) as stage:
        yield stage
        if target.is_dir():
            target.rmdir()


def _prepared(name: str, kind: Kind, format: str) -> Export:
    """What is to be exported, without its weights: as far as files tell, what is refused is refused here."""
    from sodate.library.gguf_architectures import architecture
    from sodate.library.gguf_tokenizer import tokenizer_metadata
    from sodate.library.gguf_write import checked_format, checked_lora
    from sodate.render.renderer import Renderer

    version = find_version(name)
    _refuse(name, kind, version)
    files = look_up(name)
    config = read_json(files.folder / "config.json")
    format = _usual(kind, files) if format == "auto" else format.lower()
    whole = ("f32",) if kind == "adapter" else tuple(TORCH)
    if kind in ("gguf", "ollama"):
        checked_format(format, config["hidden_size"])
    elif format not in whole:
        raise UsageError(
            tr(f"--to {kind} is not written in {format}.", f"--to {kind} は {format} では書けません。"),
            tr(f"It is written in {', '.join(whole)}.", f"使えるもの: {', '.join(whole)}"),
            code="bad_value",
            param="format",
        )
    renderer = Renderer.from_folder(files.folder, files.template, date=files.date)
    if kind not in ("adapter", "merged"):
        architecture(config)
        tokenizer_metadata(files.folder, config["vocab_size"], renderer.template, renderer.stop_ids)
    if kind == "gguf-lora" and files.adapter is not None:
        checked_lora(files.adapter, format)
    longest = config.get("max_position_embeddings")
    asked = agreement.conversations(renderer, min(ROOM, longest) if isinstance(longest, int) else ROOM)
    return Export(files.name, kind, format, files, version, renderer, config, asked)


def _merged(files: ModelFiles) -> Any:
    """The model with its adapter in its weights, in float32."""
    from sodate.adapt import adapters
    from sodate.api.loading import with_adapter

    model, _ = with_adapter(files, "cpu", "float32")
    adapters.merge(model)
    return model


def _usual(kind: Kind, files: ModelFiles) -> str:
    from sodate.model.stream import stored_dtype

    if kind != "merged":
        return USUAL[kind]
    stored = str(stored_dtype(files.folder)).removeprefix("torch.")
    return next((format for format, name in TORCH.items() if name == stored), "f32")


def _refuse(name: str, kind: Kind, version: Version | None) -> None:
    """What can't be exported so, with the reason."""
    from sodate.adapt import files as adapter_files
    from sodate.adapt.bottleneck import unmergeable

    if kind not in get_args(Kind):
        raise UsageError(
            tr(f"There is no export to {kind!r}.", f"{kind!r} への書き出しはありません。"),
            tr(f"There are {', '.join(get_args(Kind))}.", f"使えるもの: {', '.join(get_args(Kind))}"),
            code="bad_value", param="to",
        )  # fmt: skip
    if find_spec(NEEDS[kind]) is None:
        raise SodateError(
            tr(f"An export is tried in its own engine, and {NEEDS[kind]} is not installed.",
               f"書き出しはそれを使うエンジンで確認しますが、{NEEDS[kind]} が入っていません。"),
            f'pip install "sodate[{EXTRA[NEEDS[kind]]}]"',
            code="extra_missing",
        )  # fmt: skip
    if version is not None and version.head is not None:
        raise UsageError(
            tr(f"{version.id} is a reward model: it scores replies and writes none.",
               f"{version.id} は報酬モデルです。返答を採点するもので、生成はできません。"),
            tr("Export a version that answers.", "応答するバージョンを指定してください。"),
            code="wrong_model", param="version",
        )  # fmt: skip
    if version is None or version.adapter is None:
        if kind in ("adapter", "gguf-lora"):
            raise UsageError(
                tr(f"{name} has no adapter.", f"{name} にはアダプターがありません。"),
                tr("Export its weights: --to merged, gguf or ollama.",
                   "重みを書き出してください: --to merged、gguf、ollama"),
                code="wrong_model", param="to",
            )  # fmt: skip
        return
    if not adapter_files.merges(adapter_files.read_adapter(version.adapter)):
        raise unmergeable()
    if kind in ("adapter", "gguf-lora") and version.manifest.get("adapter") == "qlora":
        raise UsageError(
            tr(f"{version.id} was trained over weights in 4 bits; its adapter over others answers differently.",
               f"{version.id} は 4 ビットの重みの上で学習したものです。ほかの重みでは答えが変わります。"),
            tr("Merge it into the weights: --to merged or --to gguf.",
               "重みに統合してください: --to merged または --to gguf"),
            code="export_unsupported", param="to",
        )  # fmt: skip


def _asked(made: Export, own: agreement.Own, stage: Path, aside: Path) -> tuple[dict[str, Any], agreement.Array]:
    """What the export's own engine answers."""
    if made.kind in ("adapter", "merged"):
        base = str(made.files.folder) if made.kind == "adapter" else None
        return agreement.ask_reader("sodate.api.reader_transformers", {"folder": str(stage), "base": base}, own)
    from sodate.library.gguf_write import write_model

    job: dict[str, Any] = {
        "gguf": str(stage / made.file), "lora": None, "texts": [], "exact": made.format == "f32",
        "context": max(len(place) for place in own.places) + agreement.REPLY + 8,
        "whole": made.renderer.tokenizer.encode("a", add_special_tokens=False).ids[-1],
    }  # fmt: skip
    expected: list[list[int]] = []
    if made.kind == "gguf-lora":
        whole = aside / "base.gguf"
        write_model(base_weights(made), made.files.folder, whole, format="f32", stops=made.renderer.stop_ids,
                    template=(stage / "chat_template.jinja").read_text("utf-8"))  # fmt: skip
        job |= {"gguf": str(whole), "lora": str(stage / made.file)}
    if made.kind == "ollama":
        job["texts"], expected = ollama_texts(made, stage)
    answers, logs = agreement.ask_reader("sodate.api.reader_llamacpp", job, own)
    if answers["texts"] != expected:
        raise agreement.differs("what TEMPLATE writes has other token ids", "TEMPLATE の文字列が別のトークンになります")
    return answers, logs


def _warned(found: dict[str, Any], format: str) -> list[str]:
    """What of the figures a person should not have to look for."""
    same, of = round(found["greedy_equal"] * found["conversations"]), found["conversations"]
    if 2 * same >= of:
        return []
    return [tr(f"In {format} only {same} of {of} greedy replies are the version's: measure the file before you use it.",
               f"{format} で一致した貪欲な返答は {of} 件中 {same} 件だけです。使う前に測ってください。")]  # fmt: skip


def _finish(made: Export, stage: Path, found: dict[str, Any], notes: list[str]) -> None:
    """Licence texts of the base, and the card."""
    entry = base_entry(made)
    for file in made.files.folder.iterdir():
        if file.is_file() and not file.is_symlink() and not (stage / file.name).exists() and _is_licence(file.name):
            shutil.copyfile(file, stage / file.name)
    hashes = {str(f.relative_to(stage)): sha256_file(f) for f in sorted(stage.rglob("*")) if f.is_file()}
    facts = Facts(
        made.name, made.kind, made.format, made.file, entry.id if entry else made.files.base, _source(made),
        entry.licence if entry else None, made.version.manifest if made.version else None, found, hashes,
        _reports(made.name), notes,
    )  # fmt: skip
    write_text(stage / "README.md", card(facts))


def _is_licence(name: str) -> bool:
    return any(word in name.upper() for word in ("LICENSE", "LICENCE", "NOTICE", "TERMS"))


def _source(made: Export) -> str:
    """Where the base is from, for strangers: a path on this machine is none of their business."""
    entry = base_entry(made)
    kind, _, where = entry.source.partition(" ") if entry else ("", "", "")
    return where if kind in ("hub", "wheel") else made.files.base


def _reports(version: str) -> dict[str, Any]:
    """Result documents in which this version was measured, by the names of their folders."""
    root = home.reports_dir()
    found = {path.parent.name: read_json(path) for path in sorted(root.glob("*/result.json"))} if root.exists() else {}
    return {name: report for name, report in found.items() if version in report.get("measured", {}).values()}
