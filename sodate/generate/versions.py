"""Adapters over a model that is prepared for decoding: which layer each of their matrices stands beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from sodate.adapt import files as adapter_files
from sodate.adapt.adapters import PREFIX
from sodate.adapt.lora import LoraConfig
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.generate.frozen import FrozenAttention, FrozenLinear, FrozenMLP
from sodate.generate.multi_lora import MultiLora, Pair, Selection
from sodate.library import weights


class Versions:
    """LoRA and rsLoRA adapters over one base, by name. `selection` says whose rows a forward has."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.selection = Selection()

    @classmethod
    def over(cls, model: Any) -> Versions:
        """Those of a model: the same for every engine and for whoever else computes with it."""
        found: Versions | None = getattr(model, "sodate_versions", None)
        if found is None:
            found = model.sodate_versions = cls(model)
        return found

    def select(self, name: str) -> None:
        """Forwards of the model are those of this version from here on, to the end of an engine's next step."""
        self.selection.of([name], self.model.device)

    def __contains__(self, name: object) -> bool:
        return name in self.selection.ranks

    def add(self, name: str, folder: Path) -> None:
        """Reads the adapter in `folder`. SodateError if it can't stand beside others: another kind (`version_alone`),
        another model's."""
        config = adapter_files.read_adapter(folder)
        if not isinstance(config, LoraConfig) or config.dora:
            kind = adapter_files.adapter_kind(config)
            raise SodateError(
                tr(f"{name} has an adapter of the kind {kind}, which can't share a base with other versions.",
                   f"{name} のアダプタの種類 {kind} は、ほかのバージョンと基盤モデルを共有できません。"),
                tr("Serve it alone, or merge it first: sodate versions merge.",
                   "単独で動かすか、先に sodate versions merge で統合してください。"),
                code="version_alone",
            )  # fmt: skip
        tensors = weights.read_tensors(folder / "adapter_model.safetensors")
        places = {full: (layer, part) for full, layer, part in _places(self.model)}
        layers: dict[FrozenLinear, list[Pair | None]] = {}
        for full in sorted({key.removeprefix(PREFIX).rpartition(".lora_")[0] for key in tensors}):
            a, b = (tensors.get(f"{PREFIX}{full}.lora_{which}.weight") for which in "AB")
            layer, part = places.get(full, (None, 0))
            if layer is None or a is None or b is None or not _fits(layer, part, a, b):
                raise SodateError(
                    tr(f"The adapter of {name} is not for this model: {full} does not match.",
                       f"{name} のアダプタはこのモデル用ではありません: {full} が一致しません。"),
                    code="version_alone",
                )  # fmt: skip
            pair = (a.to(layer.weight.device).float(), config.scale * b.to(layer.weight.device).float())
            layers.setdefault(layer, [None] * len(layer.sizes))[part] = pair
        self.selection.ranks[name] = config.rank
        for layer, pairs in layers.items():
            if layer.multi_lora is None:
                layer.multi_lora = MultiLora(self.selection, layer.sizes, layer.weight.shape[1])
            layer.multi_lora.put(name, pairs)
        self._forget_stacks(name, layers)

    def remove(self, name: str) -> None:
        """Lets go of a version that no request asks for any more."""
        del self.selection.ranks[name]
        self._forget_stacks(name, {})

    def _forget_stacks(self, name: str, layers: dict[FrozenLinear, list[Pair | None]]) -> None:
        """Layers beside which this version has nothing may hold something of one that had its name."""
        self.selection.changes += 1
        for module in self.model.modules():
            if isinstance(module, FrozenLinear) and module.multi_lora is not None and module not in layers:
                module.multi_lora.put(name, None)


def _fits(layer: FrozenLinear, part: int, a: Tensor, b: Tensor) -> bool:
    return a.shape[1] == layer.weight.shape[1] and b.shape == (layer.sizes[part], len(a))


def _places(model: Any) -> Iterator[tuple[str, FrozenLinear, int]]:
    """Every linear layer by the name it had, the frozen layer it is part of, and which part."""
    inside: set[FrozenLinear] = set()
    for name, module in model.named_modules():
        found: tuple[tuple[FrozenLinear, tuple[str, ...]], ...] = ()
        if isinstance(module, FrozenAttention):
            found = (module.qkv, ("q_proj", "k_proj", "v_proj")), (module.out, ("o_proj",))
        elif isinstance(module, FrozenMLP):
            found = (module.wide, ("gate_proj", "up_proj")), (module.down, ("down_proj",))
        elif isinstance(module, FrozenLinear) and module not in inside:
            yield name, module, 0
        for layer, leaves in found:
            inside.add(layer)
            yield from ((f"{name}.{leaf}", layer, part) for part, leaf in enumerate(leaves))
