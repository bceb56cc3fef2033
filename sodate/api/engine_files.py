"""The GGUF files that the engine llamacpp reads, made once and kept in the cache: weights and adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import lock, read_json, sha256_json
from sodate.core.home import cache_dir, make_folder
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.library.store import find
from sodate.release.registry import find_version

MADE = 1  # how these files are made; another number makes them anew


def weights_file(files: ModelFiles) -> Path:
    """The model without its adapter. Where the base came from a GGUF file its tensors are those of that very file;
    others are converted, in the precision that they are kept in."""
    recorded = _recorded(files.base)

    def make(target: Path, work: Path) -> None:
        from sodate.library.gguf_file import read_gguf
        from sodate.library.numbered_gguf import write_numbered
        from sodate.library.original_gguf import original_gguf

        entry = find(files.base)
        source = original_gguf(entry, work, lambda fraction, text: None) if entry else None
        if source is None:
            _convert(files.folder, target)
        else:
            write_numbered(read_gguf(source), target)

    return _kept({"weights": recorded}, make)


def adapter_file(files: ModelFiles) -> Path:
    """The LoRA adapter of a version. SodateError `engine_refused` for a kind that llama.cpp can't run."""
    from sodate.adapt import files as adapter_files
    from sodate.adapt.lora import LoraConfig

    assert files.adapter is not None
    config = adapter_files.read_adapter(files.adapter)
    kind = "qlora" if files.quantised else adapter_files.adapter_kind(config)
    if not isinstance(config, LoraConfig) or kind not in ("lora", "rslora"):
        raise SodateError(
            tr(f"{files.name} has an adapter of the kind {kind}, which llama.cpp can't run.",
               f"{files.name} のアダプタの種類 {kind} は llama.cpp では動きません。"),
            tr(f"Merge it first (sodate versions merge {files.name}), or use --engine torch.",
               f"先に統合する (sodate versions merge {files.name}) か、--engine torch を使ってください。"),
            code="engine_refused", param="engine",
        )  # fmt: skip
    adapter = files.adapter

    def make(target: Path, work: Path) -> None:
        from sodate.library.gguf_write import write_lora

        write_lora(adapter, read_json(files.folder / "config.json"), target)

    return _kept({"adapter": _recorded(files.name), "base": _recorded(files.base)}, make)


def _recorded(name: str) -> Any:
    """The hashes of the files that a name stands for, as they were checked when it was looked up."""
    entry, version = find(name), find_version(name)
    if version is not None:
        return version.manifest["files"]
    assert entry is not None
    return dict(entry.sha256)


def _kept(content: Any, make: Callable[[Path, Path], None]) -> Path:
    """The file made of this content, from the cache or made there; two processes make it once."""
    target = cache_dir() / "gguf" / f"{sha256_json({'made': MADE, **content})[:32]}.gguf"
    what = tr(f"The file {target.name}", f"ファイル {target.name}")
    if not target.exists():
        with lock(target.with_suffix(".lock"), what, wait=True):
            if not target.exists():
                make_folder(target.parent)
                with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target.parent) as work:
                    make(target, Path(work))
    return target


def _convert(folder: Path, target: Path) -> None:
    """The weights of a model folder as GGUF, in the precision that all of them are kept in, else in float32."""
    from sodate.library.gguf_write import write_model
    from sodate.library.weights import read_tensors

    tensors: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= read_tensors(file)
    few = [{"torch.bfloat16"}, {"torch.float16"}]
    kinds = {str(tensor.dtype) for tensor in tensors.values()}
    kept = ("bf16", "f16")[few.index(kinds)] if kinds in few else "f32"
    write_model(tensors, folder, target, format=kept, template=None)
