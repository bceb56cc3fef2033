"""Versions of the farm's model: orders@1 to orders@3, adapters with random weights over one base."""

from __future__ import annotations

import shutil
from typing import Any

from sodate.adapt.lora import LoraConfig
from sodate.api.loading import load
from sodate.library.store import find
from sodate.release.registry import register
from tests.farm import Farm
from tests.generate.test_versions import ALL, plant


def register_orders(farm: Farm) -> tuple[dict[str, Any], Any]:
    """Registers them in the home that is set; what another version would be registered with, and the template."""
    entry = find(farm.model)
    assert entry is not None
    about: dict[str, Any] = {"base": entry.id, "recipe": {"method": "sft"}, "data": {"rows_used": 3}}
    template = load(farm.model).renderer.template
    for seed in range(3):
        made = plant(farm.folder, LoraConfig(4, 12.0, ALL), seed)
        register("orders", about, template, lambda folder, made=made: shutil.copytree(made, folder / "adapter"))
        shutil.rmtree(made)
    return about, template
