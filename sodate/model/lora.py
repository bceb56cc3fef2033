"""LoRA (arXiv 2106.09685) on frozen linear layers, in PEFT's file format, with its own backward.

    y = x Wᵀ + b + s · (x Aᵀ) Bᵀ          A (r, in), B (out, r), s = alpha / r

Autograd would save x twice, and pass over y and dx once more to add the low-rank terms. Here x is saved once, x Aᵀ is
remade in backward (r columns: next to nothing), and both additions happen inside the matrix products (addmm).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json
from sodate.core.text import tr

PREFIX = "base_model.model."
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "bias", "inference_mode", "init_lora_weights", "layers_pattern",
    "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision",
    "target_modules", "task_type", "use_rslora",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What adapter_config.json holds of an adapter. `targets` are module names' last parts, as PEFT writes them."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    rslora: bool = False

    @property
    def scale(self) -> float:
        """s: alpha / r, or alpha / √r for rank-stabilised LoRA (arXiv 2312.03732)."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, s: float) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.s = s
        rows = x.reshape(-1, x.shape[-1])
        y = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
        y.addmm_(torch.mm(rows, a.t()), b.t(), alpha=s)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        rows = x.reshape(-1, x.shape[-1])
        dy = dy.reshape(-1, dy.shape[-1])
        low = torch.mm(dy, b).mul_(ctx.s)  # (N, r)
        da = torch.mm(low.t(), rows)
        db = torch.mm(dy.t(), torch.mm(rows, a.t())).mul_(ctx.s)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(dy, weight)
            dx.addmm_(low, a)
            dx = dx.view(x.shape)
        return dx, None, None, da, db, None


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank term. The same weight tensor, no copy."""

    def __init__(self, linear: nn.Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.scale = config.scale
        self.enabled = True
        # PEFT's start: A Kaiming-uniform with a = √5, i.e. U(±1/√in); B zero, so that the model begins unchanged.
        bound = 1 / math.sqrt(linear.in_features)
        start = torch.rand(config.rank, linear.in_features, generator=generator) * (2 * bound) - bound
        self.lora_A = nn.Parameter(start.to(linear.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, config.rank, device=linear.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return nn.functional.linear(x, self.weight, self.bias)
        a, b = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        product: Tensor = _LoraProduct.apply(x, self.weight, self.bias, a, b, self.scale)  # type: ignore[no-untyped-call]
        return product

    def merged(self) -> Tensor:
        """W + s·B·A, (out, in)."""
        delta = self.scale * (self.lora_B.float() @ self.lora_A.float())
        return (self.weight.float() + delta).to(self.weight.dtype)


def decoder_linears(model: nn.Module) -> list[str]:
    """Full names of the linear layers inside the decoder's blocks: everything but embeddings and head."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def all_targets(model: nn.Module) -> tuple[str, ...]:
    """Names of every kind of linear layer in the blocks, e.g. q_proj … down_proj ("LoRA Without Regret", 2025)."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in decoder_linears(model)}))


def add(model: nn.Module, config: LoraConfig, seed: int) -> None:
    """Freezes the model and puts an adapter on the targeted layers. Same seed, same adapter, on every device."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    names = [name for name in decoder_linears(model) if name.rsplit(".", 1)[-1] in config.targets]
    if not names:
        raise UsageError(
            tr(
                f"No layer is called {', '.join(config.targets)}.",
                f"{', '.join(config.targets)} という層はありません。",
            ),
            tr(f"This model has {', '.join(all_targets(model))}.", f"このモデルの層: {', '.join(all_targets(model))}"),
        )
    for name in names:
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, leaf, LoraLinear(getattr(owner, leaf), config, generator))


def layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def state(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors under PEFT's names."""
    out: dict[str, Tensor] = {}
    for name, layer in layers(model):
        out[f"{PREFIX}{name}.lora_A.weight"] = layer.lora_A.detach()
        out[f"{PREFIX}{name}.lora_B.weight"] = layer.lora_B.detach()
    return out


def load_state(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copies an adapter's tensors in; raises SodateError when names or shapes don't fit this model."""
    mine = state(model)
    if set(mine) != set(tensors):
        odd = sorted(set(mine) ^ set(tensors))[0]
        raise SodateError(
            tr(
                f"The adapter in {where} is not for this model: {odd} does not match.",
                f"{where} のアダプタはこのモデル用ではありません: {odd} が一致しません。",
            )
        )
    with torch.no_grad():
        for name, tensor in mine.items():
            if tensor.shape != tensors[name].shape:
                raise SodateError(
                    tr(
                        f"The adapter in {where} is not for this model: {name} has shape {tuple(tensors[name].shape)}, "
                        f"not {tuple(tensor.shape)}.",
                        f"{where} のアダプタはこのモデル用ではありません: {name} の形が違います。",
                    )
                )
            tensor.copy_(tensors[name])


def read_config(folder: Path) -> LoraConfig:
    """An adapter_config.json written by PEFT or by us; raises SodateError on a kind this module can't reproduce."""
    config = read_json(folder / "adapter_config.json")
    kind = config.get("peft_type")
    # PEFT writes every field it knows; one that is set and unknown here may change what the adapter computes.
    unsupported = sorted(k for k, value in config.items() if value and k not in _HARMLESS)
    if config.get("init_lora_weights", True) not in (True, False, "gaussian"):
        unsupported.append("init_lora_weights")  # PiSSA and its kin change the base weights too
    if kind != "LORA" or unsupported or config.get("bias", "none") != "none":
        what = ", ".join(unsupported) or f"peft_type {kind}, bias {config.get('bias')}"
        raise SodateError(
            tr(
                f"The adapter in {folder} uses {what}, which is not supported.",
                f"{folder} のアダプタの {what} には対応していません。",
            )
        )
    targets = config["target_modules"]
    if isinstance(targets, str):
        raise SodateError(
            tr(
                f"{folder}: target_modules is a pattern; list the layer names instead.",
                f"{folder}: target_modules がパターンです。層の名前を列挙してください。",
            )
        )
    return LoraConfig(config["r"], config["lora_alpha"], tuple(sorted(targets)), bool(config.get("use_rslora")))


def config_json(config: LoraConfig, base: str) -> dict[str, Any]:
    """adapter_config.json, as plain `peft` reads it."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "use_rslora": config.rslora,
        "target_modules": list(config.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }


def merge(model: nn.Module) -> None:
    """Folds every adapter into its layer's weight and puts plain linear layers back."""
    for name, layer in list(layers(model)):
        parent, _, leaf = name.rpartition(".")
        out_features, in_features = layer.weight.shape
        linear = nn.Linear(in_features, out_features, bias=layer.bias is not None, device="meta")
        linear.weight = nn.Parameter(layer.merged().detach(), requires_grad=False)
        linear.bias = layer.bias
        setattr(model.get_submodule(parent), leaf, linear)


def set_enabled(model: nn.Module, enabled: bool) -> None:
    """Switches every adapter on or off (off: the base model, e.g. as a DPO reference)."""
    for _, layer in layers(model):
        layer.enabled = enabled
