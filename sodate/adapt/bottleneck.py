"""Bottleneck adapters: a small network with a shortcut after a sub-layer's last projection, before the residual sum.

    y = h + U · silu(D h + d) + u        h = x Wᵀ + b, the frozen layer; D (size, out), U (out, size)

Houlsby (arXiv 1902.00751) puts one after attention and one after the MLP of every block, Pfeiffer (2005.00247) only
after the MLP. U begins at zero, so that the model begins unchanged. What they add is not linear in x: no merging.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sodate.adapt.adapters import Adapted
from sodate.adapt.lora import MAX_RANK, decoder_linears, unsound
from sodate.adapt.quantise import NF4Linear, frozen_product
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr

Style = Literal["houlsby", "pfeiffer"]
KEY = "sodate_adapter"  # peft has no such adapters: in adapter_config.json this key stands in place of peft_type


@dataclass(frozen=True, slots=True)
class BottleneckConfig:
    """What adapter_config.json holds of bottleneck adapters. `size` is the width of the bottleneck."""

    size: int
    style: Style


class BottleneckLinear(Adapted):
    """A frozen linear layer followed by a bottleneck adapter."""

    merges = False

    def __init__(self, linear: nn.Linear | NF4Linear, size: int, generator: torch.Generator) -> None:
        super().__init__(linear)
        width, device = linear.out_features, linear.weight.device
        start = (torch.rand(size, width, generator=generator) * 2 - 1) / math.sqrt(width)
        self.down = nn.Parameter(start.to(device))
        self.down_bias = nn.Parameter(torch.zeros(size, device=device))
        self.up = nn.Parameter(torch.zeros(width, size, device=device))
        self.up_bias = nn.Parameter(torch.zeros(width, device=device))

    def saved(self) -> dict[str, nn.Parameter]:
        return {"bottleneck_down.weight": self.down, "bottleneck_down.bias": self.down_bias,
                "bottleneck_up.weight": self.up, "bottleneck_up.bias": self.up_bias}  # fmt: skip

    def adapted(self, x: Tensor) -> Tensor:
        h = frozen_product(x, self.weight, self.bias)
        low = F.silu(F.linear(h, self.down.to(h.dtype), self.down_bias.to(h.dtype)))
        return h + F.linear(low, self.up.to(h.dtype), self.up_bias.to(h.dtype))

    def adds_nothing(self) -> bool:
        return not self.up.any() and not self.up_bias.any()

    def merged(self) -> Tensor:
        raise unmergeable()


def unmergeable() -> SodateError:
    return SodateError(
        tr("Bottleneck adapters can't be merged into the weights: what they add is not linear.",
           "ボトルネックアダプターは重みに統合できません。加える項が線形ではないためです。"),
        tr("Use the version as it is, or train with adapter=lora.",
           "このバージョンのまま使うか、adapter=lora で学習してください。"),
        code="adapter_unsupported",
    )  # fmt: skip


def places(model: nn.Module, style: Style) -> list[str]:
    """Full names of the layers that adapters come after: the last linear layer of each sub-layer of each block."""
    last = {name.rpartition(".")[0]: name for name in decoder_linears(model)}
    attention = {name for owner, name in last.items() if "attn" in owner or "attention" in owner}
    after_mlp = [name for name in last.values() if name not in attention]
    if not attention or len(attention) != len(after_mlp):
        raise UsageError(
            tr(f"The blocks of {type(model).__name__} are not one attention and one MLP: no place for bottlenecks.",
               f"{type(model).__name__} のブロックは注意層 1 つと MLP 1 つの形ではなく、ボトルネックを置けません。"),
            tr("Use adapter=lora, full or last.", "adapter=lora、full、last のいずれかを使ってください。"),
            code="model_unsupported",
        )  # fmt: skip
    return list(last.values()) if style == "houlsby" else after_mlp


def add(model: nn.Module, config: BottleneckConfig, seed: int) -> None:
    """Freezes the model and puts the adapters in. Same seed, same adapters, on every device."""
    names = places(model, config.style)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        owner, _, leaf = name.rpartition(".")
        parent = model.get_submodule(owner)
        setattr(parent, leaf, BottleneckLinear(getattr(parent, leaf), config.size, generator))


def is_one(config: Mapping[str, Any]) -> bool:
    """Whether an adapter_config.json is of this kind."""
    return config.get(KEY) == "bottleneck"


def read_config(config: Mapping[str, Any], folder: Path) -> BottleneckConfig:
    size, style = config.get("size"), config.get("style")
    if type(size) is not int or not 1 <= size <= MAX_RANK or style not in ("houlsby", "pfeiffer"):
        raise unsound(folder, tr("size or style is not what it has to be", "size か style の値が正しくありません"))
    return BottleneckConfig(size, style)


def config_json(config: BottleneckConfig, base: str) -> dict[str, Any]:
    return {KEY: "bottleneck", "base_model_name_or_path": base, "size": config.size, "style": config.style}
