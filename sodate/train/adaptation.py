"""Which kind of training a recipe asks for on a given model, and the model made ready for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.adapt import adapters, last_blocks
from sodate.adapt import files as adapter_files
from sodate.adapt.bottleneck import BottleneckConfig
from sodate.adapt.files import AdapterConfig
from sodate.core.errors import UsageError
from sodate.core.files import sha256_file
from sodate.core.recipe import ADAPTER_KEYS, Recipe
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.train.resolve import Resolved

WHOLE = ("last", "full")  # weights of the model itself are trained


@dataclass(frozen=True, slots=True)
class Start:
    """How training begins: a key of ADAPTER_KEYS, the adapter there is already, and whether its base is in 4 bits."""

    kind: str
    folder: Path | None
    config: AdapterConfig | None
    quantised: bool

    def sha256(self) -> str | None:
        """Of the adapter's file: a resumed run must find the same one."""
        return sha256_file(self.folder / "adapter_model.safetensors") if self.folder else None


def begin(recipe: Recipe, files: ModelFiles) -> Start:
    """UsageError where the recipe's keys don't fit each other, or the adapter that training begins with."""
    kind: str = recipe.adapter
    folder = Path(recipe.init_adapter) if recipe.init_adapter else files.adapter
    if recipe.init_adapter and files.adapter:
        raise UsageError(
            tr(f"{files.name} has an adapter already; init_adapter would be a second one.",
               f"{files.name} には既にアダプターがあります。init_adapter は重ねられません。"),
            tr("Leave init_adapter out, or name the base model.",
               "init_adapter を外すか、ベースモデルを指定してください。"),
            code="bad_value", param="init_adapter",
        )  # fmt: skip
    config = None
    if folder is not None:
        config = adapter_files.read_adapter(folder)
        if not (folder / "adapter_model.safetensors").exists():
            raise UsageError(
                tr(f"{folder} has no adapter_model.safetensors.",
                   f"{folder} に adapter_model.safetensors がありません。"),
                tr("Save the adapter as safetensors: files that run code when opened (.bin) are not read.",
                   "safetensors で保存し直してください。開くとコードが動く形式 (.bin) は読みません。"),
                code="file_missing", param="init_adapter", file=folder,
            )  # fmt: skip
        kind = _going_on(kind, config, str(folder) if recipe.init_adapter else files.name, recipe, files)
    elif kind == "auto":
        kind = "lora"
    for keys in ADAPTER_KEYS.values():
        for key in keys:
            if getattr(recipe, key) != "auto" and key not in ADAPTER_KEYS[kind]:
                fits = ", ".join(name for name, own in ADAPTER_KEYS.items() if key in own)
                raise UsageError(
                    tr(f"{key} has no meaning for adapter={kind}.", f"{key} は adapter={kind} では使えません。"),
                    tr(f"Leave it out; it is for adapter={fits}.", f"指定を外してください。{fits} 用のキーです。"),
                    code="bad_value",
                    param=key,
                )
    if config is not None and kind not in WHOLE:
        _check_numbers(recipe, config, str(folder))
    return Start(kind, folder, config, kind == "qlora" or files.quantised)


def _going_on(kind: str, config: AdapterConfig, who: str, recipe: Recipe, files: ModelFiles) -> str:
    """The kind of a run that begins with the adapter of `who`: a folder (init_adapter) or a version."""
    own = adapter_files.adapter_kind(config)
    if files.quantised and own == "lora":
        own = "qlora"
    if kind in WHOLE and recipe.init_adapter:
        raise UsageError(
            tr(f"init_adapter has no meaning for adapter={kind}.", f"init_adapter は adapter={kind} では使えません。"),
            tr("Leave one of them out.", "どちらかを外してください。"),
            code="bad_value",
            param="init_adapter",
        )
    if kind in WHOLE and not adapter_files.merges(config):
        raise UsageError(
            tr(f"{who} has {own} adapters, which can't become part of the weights that adapter={kind} trains.",
               f"{who} の {own} アダプターは重みに統合できないため、adapter={kind} では学習できません。"),
            tr("Train on its base model, or leave adapter out.", "ベースモデルから学習するか、adapter を外します。"),
            code="bad_value", param="adapter",
        )  # fmt: skip
    if kind in (*WHOLE, own) or (recipe.init_adapter and (own, kind) == ("lora", "qlora")):
        return kind
    if kind == "auto":
        return own
    fix = tr("Leave adapter out.", "adapter の指定を外してください。")
    if adapter_files.merges(config) and not recipe.init_adapter:
        fix = tr(f"Leave adapter out, or train on merged weights: sodate versions merge {who}",
                 f"adapter を外すか、統合した重みから学習してください: sodate versions merge {who}")  # fmt: skip
    raise UsageError(
        tr(f"adapter={kind}, but the adapter of {who} is {own}.", f"adapter={kind} ですが、{who} は {own} です。"),
        fix,
        code="bad_value",
        param="adapter",
    )


def _check_numbers(recipe: Recipe, config: AdapterConfig, where: str) -> None:
    """UsageError when the recipe wants numbers that the adapter it begins with does not have."""
    if isinstance(config, BottleneckConfig):
        has: dict[str, Any] = {"bottleneck_size": config.size, "bottleneck_style": config.style}
    else:
        has = {"lora_rank": config.rank, "lora_alpha": config.alpha, "lora_targets": config.targets}
    for key, value in has.items():
        given = getattr(recipe, key)
        if given != "auto" and (tuple(sorted(given)) if isinstance(given, tuple) else given) != value:
            raise UsageError(
                tr(
                    f"{key} = {given}, but the adapter in {where} has {value}.",
                    f"{key} = {given} ですが、{where} のアダプターは {value} です。",
                ),
                tr(f"Leave {key} out.", f"{key} の指定を外してください。"),
                code="bad_value",
                param=key,
            )


def make_trainable(model: Any, recipe: Recipe, start: Start, resolved: Resolved) -> None:
    """Puts the adapter on, or makes what is trained of the model's own weights trainable."""
    if resolved.adapter is not None and start.folder is None:
        adapter_files.add_adapter(model, resolved.adapter, recipe.seed)
        return
    if start.folder is not None:
        adapter_files.load_adapter(model, start.folder)
    if resolved.adapter is None:
        adapters.merge(model)
        last_blocks.train_blocks(model, resolved.last_layers)
