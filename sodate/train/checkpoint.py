"""Checkpoints of a run: safetensors, hashed, complete or absent; a damaged one is named and passed over.

checkpoints/step-000120/
  model.safetensors       trainable tensors
  optimizer.safetensors   AdamW's moments, by parameter
  rng.safetensors         random number generator states
  state.json              loop state, SHA-256 of it and of the three
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sodate.core.errors import SodateError
from sodate.core.files import atomic_folder, sha256_file, sha256_json, write_json
from sodate.core.manifests import SCHEMA_VERSION, CheckpointManifest, read_manifest
from sodate.core.text import tr
from sodate.library.weights import read_tensors, write_tensors

PARTS = ("model", "optimizer", "rng")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters by name, each tensor once (a tied head shares its embedding's)."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], keep: set[int]
) -> Path:
    """Writes checkpoint `step`, then removes older ones except `keep` and the one before (the fallback)."""
    path = folder / f"step-{step:06d}"
    if not path.exists():
        names = list(trainable(model))
        moments = {
            f"{names[i]}.{key}": value
            for i, entries in optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }
        with atomic_folder(path) as stage:
            write_tensors(stage / "model.safetensors", dict(trainable(model)))
            write_tensors(stage / "optimizer.safetensors", moments)
            write_tensors(stage / "rng.safetensors", _rng_state())
            hashes = {part: sha256_file(stage / f"{part}.safetensors") for part in PARTS}
            about = {"state": state, "sha256": {"state": sha256_json(state), **hashes}}
            write_json(stage / "state.json", {"schema_version": SCHEMA_VERSION, **about})
    steps = sorted(_steps(folder))
    for old in steps[:-2]:
        if old not in keep:
            shutil.rmtree(folder / f"step-{old:06d}")
    return path


def restore(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]
) -> dict[str, Any] | None:
    """Loads the newest sound checkpoint into model, optimiser and RNG; returns its state, or None if there is none."""
    for step in sorted(_steps(folder), reverse=True):
        path = folder / f"step-{step:06d}"
        try:
            state = verified(path)
        except SodateError as error:
            if error.code == "too_new":  # sound, and not for this sodate
                raise
            warn(tr(f"Checkpoint removed: {error}", f"チェックポイントを取り除きます: {error}"))
            shutil.rmtree(path)  # its step comes again, and is then written anew
            continue
        load_trainable(path, model)
        moments = read_tensors(path / "optimizer.safetensors")
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _nested(moments, list(trainable(model)))})
        _set_rng_state(read_tensors(path / "rng.safetensors"))
        return state
    return None


def verified(path: Path) -> dict[str, Any]:
    """The loop state of a checkpoint whose files all match their hashes; SodateError naming the file otherwise."""
    about: CheckpointManifest = read_manifest(path / "state.json")
    try:
        state = about["state"]
        found = {"state": sha256_json(state)}
        found |= {part: sha256_file(file) for part in PARTS if (file := path / f"{part}.safetensors").exists()}
        wrong = next((part for part in ("state", *PARTS) if found.get(part) != about["sha256"][part]), None)
        if about.keys() - {"schema_version", "state", "sha256"}:  # a name that no hash covers
            wrong = "state"
    except (KeyError, TypeError):
        wrong = "state"
    if wrong is not None:
        file = path / ("state.json" if wrong == "state" else f"{wrong}.safetensors")
        raise SodateError(
            tr(f"{file} is damaged: its hash does not match.", f"{file} が壊れています: ハッシュが一致しません。"),
            code="damaged",
            file=file,
        )
    return state


def load_trainable(path: Path, model: nn.Module) -> None:
    """Copies a checkpoint's weights into the model's trainable parameters."""
    tensors = read_tensors(path / "model.safetensors")
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(tensors[name])


def _steps(folder: Path) -> list[int]:
    return [int(p.name[5:]) for p in folder.glob("step-*") if p.name[5:].isdigit()]


def _nested(moments: dict[str, Tensor], names: list[str]) -> dict[int, dict[str, Tensor]]:
    out: dict[int, dict[str, Tensor]] = {}
    for full, tensor in moments.items():
        name, _, key = full.rpartition(".")
        out.setdefault(names.index(name), {})[key] = tensor
    return out


def _rng_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda:{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return state


def _set_rng_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    # A machine may have fewer GPUs than the one that saved. Nothing in the loop draws from theirs.
    for number in range(torch.cuda.device_count()):
        if f"cuda:{number}" in state:
            torch.cuda.set_rng_state(state[f"cuda:{number}"], number)
