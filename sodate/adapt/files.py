"""Adapters in folders: read, put on a model, saved, in PEFT's file format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sodate.adapt import adapters, bottleneck, lora
from sodate.adapt.bottleneck import BottleneckConfig
from sodate.adapt.lora import LoraConfig
from sodate.library import weights

AdapterConfig = LoraConfig | BottleneckConfig


def adapter_kind(config: AdapterConfig) -> str:
    """What a recipe calls this adapter."""
    if isinstance(config, BottleneckConfig):
        return "bottleneck"
    return "dora" if config.dora else "rslora" if config.rslora else "lora"


def read_adapter(folder: Path) -> AdapterConfig:
    """The configuration of the adapter in a folder; raises SodateError on a kind that is not known here."""
    return bottleneck.read_config(folder) if bottleneck.is_one(folder) else lora.read_config(folder)


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
    add_adapter(model, config, seed=0)
    adapters.load_state(model, weights.read_tensors(folder / "adapter_model.safetensors"), str(folder))
    return config


def save_adapter(model: Any, config: AdapterConfig, base: str, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, as plain `peft` loads them (bottlenecks: as we do)."""
    weights.write_tensors(folder / "adapter_model.safetensors", adapters.state(model), {"format": "pt"})
    if isinstance(config, BottleneckConfig):
        about = bottleneck.config_json(config, base)
    else:
        about = lora.config_json(config, base)
    (folder / "adapter_config.json").write_text(json.dumps(about, indent=2) + "\n")


def merges(config: AdapterConfig) -> bool:
    """Whether this adapter can become part of the weights."""
    return isinstance(config, LoraConfig)
