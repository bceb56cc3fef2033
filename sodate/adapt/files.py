"""Adapters in folders: read, put on a model, saved, in PEFT's file format."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from sodate.adapt import adapters, bottleneck, lora
from sodate.adapt.bottleneck import BottleneckConfig
from sodate.adapt.lora import LoraConfig
from sodate.core.text import tr
from sodate.library import weights
from sodate.library.checks import read_shapes, refuse_links
from sodate.library.config import read_config

WEIGHTS = "adapter_model.safetensors"
SPARE_WEIGHTS = 100_000_000  # that are made of any adapter, before names and shapes are compared

AdapterConfig = LoraConfig | BottleneckConfig


def adapter_kind(config: AdapterConfig) -> str:
    """What a recipe calls this adapter."""
    if isinstance(config, BottleneckConfig):
        return "bottleneck"
    return "dora" if config.dora else "rslora" if config.rslora else "lora"


def read_adapter(folder: Path) -> AdapterConfig:
    """The configuration of the adapter in a folder; raises SodateError on a kind that is not known here, and where it
    and the weights beside it say different things."""
    about = read_config(folder / "adapter_config.json")
    config: AdapterConfig = (
        bottleneck.read_config(about, folder) if bottleneck.is_one(about) else lora.read_config(about, folder)
    )
    if (folder / WEIGHTS).is_file():
        refuse_links(folder, [folder / "adapter_config.json", folder / WEIGHTS])
        width = config.size if isinstance(config, BottleneckConfig) else config.rank
        for name, shape in read_shapes(folder / WEIGHTS).items():
            if name.endswith((".lora_A.weight", ".bottleneck_down.weight")) and shape[:1] != (width,):
                said = tr(f"its rank is {width}, and {name} has the shape {list(shape)}",
                          f"ランクは {width} ですが、{name} の形は {list(shape)} です")  # fmt: skip
                raise lora.unsound(folder, said)
    return config


def add_adapter(model: Any, config: AdapterConfig, seed: int) -> None:
    """Freezes the model and puts a fresh adapter on it."""
    if isinstance(config, BottleneckConfig):
        bottleneck.add(model, config, seed)
    else:
        lora.add(model, config, seed)


def load_adapter(model: Any, folder: Path) -> AdapterConfig:
    """Puts the adapter in a folder on the model; its tensors are trainable afterwards."""
    config = read_adapter(folder)
    if isinstance(config, LoraConfig):
        config = replace(config, targets=lora.known_targets(model, config.targets))
    _check_size(model, config, folder)
    add_adapter(model, config, seed=0)
    adapters.load_state(model, weights.read_tensors(folder / WEIGHTS), str(folder))
    return config


def _check_size(model: Any, config: AdapterConfig, folder: Path) -> None:
    """SodateError where far more would be made for the adapter than its file has, before it is made."""
    if not (folder / WEIGHTS).is_file():
        return  # reading it says so
    if isinstance(config, BottleneckConfig):
        layers = [model.get_submodule(name) for name in bottleneck.places(model, config.style)]
        made = config.size * sum(2 * layer.out_features for layer in layers)
    else:
        layers = [model.get_submodule(name) for name in lora.targeted(model, config.targets)]
        made = config.rank * sum(layer.in_features + layer.out_features for layer in layers)
    stored = sum(math.prod(shape) for shape in read_shapes(folder / WEIGHTS).values())
    if made > SPARE_WEIGHTS and made > 4 * stored:
        said = tr(f"it would have {made:,} weights on this model, and {stored:,} are stored",
                  f"このモデルでは重みが {made:,} 個になりますが、保存されているのは {stored:,} 個です")  # fmt: skip
        raise lora.unsound(folder, said)


def save_adapter(model: Any, config: AdapterConfig, base: str, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, as plain `peft` loads them (bottlenecks: as we do)."""
    weights.write_tensors(folder / WEIGHTS, adapters.state(model), {"format": "pt"})
    if isinstance(config, BottleneckConfig):
        about = bottleneck.config_json(config, base)
    else:
        about = lora.config_json(config, base)
    (folder / "adapter_config.json").write_text(json.dumps(about, indent=2) + "\n")


def merges(config: AdapterConfig) -> bool:
    """Whether this adapter can become part of the weights."""
    return isinstance(config, LoraConfig)
