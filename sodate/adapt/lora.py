"""LoRA (arXiv 2106.09685), rsLoRA (2312.03732) and DoRA (2402.09353) on frozen linear layers, in PEFT's file format.

    LoRA   y = x Wᵀ + b + s · (x Aᵀ) Bᵀ            A (r, in), B (out, r), s = alpha / r; rsLoRA: s = alpha / √r
    DoRA   y = m ∘ (x Vᵀ) / ‖V‖ + b,  V = W + s · B A    m (out,), norms of V's rows

Autograd would save x twice, and pass over y and dx once more to add the low-rank terms. Here x is saved once, x Aᵀ is
remade in backward (r columns: next to nothing), and both additions happen inside the matrix products (addmm). A weight
in 4 bits (quantise.py) is dequantised for each product and never kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sodate.adapt.adapters import Adapted
from sodate.adapt.quantise import NF4, NF4Linear, dense
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr
from sodate.kernels import products

MAX_RANK, MAX_ALPHA, MAX_TARGETS = 1 << 16, 1e6, 10_000
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "bias", "inference_mode", "init_lora_weights", "layers_pattern",
    "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision",
    "target_modules", "task_type", "use_dora", "use_rslora",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What adapter_config.json holds of an adapter. `targets` are the ends of modules' names, as PEFT writes them."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    rslora: bool = False
    dora: bool = False

    @property
    def scale(self) -> float:
        """s: alpha / r, or alpha / √r for rank-stabilised LoRA (arXiv 2312.03732)."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


Seen = Callable[["Tensor | NF4", Tensor, Tensor, Tensor, Tensor], None]
"""Of one layer's backward: its frozen weight W (out, in), and s · dy (N, out), x Aᵀ (N, r), s · dy B (N, r), x (N, in):
dA and dB are products of the last four, of all tokens or of some."""

_seen: Seen | None = None


@contextmanager
def seeing(seen: Seen) -> Iterator[None]:
    """`seen` is told what gradients of A and B are made of, in every backward of LoRA layers until the block ends."""
    global _seen
    before, _seen = _seen, seen
    try:
        yield
    finally:
        _seen = before


def show(weight: Tensor | NF4, dy: Tensor, s: float, low: Tensor, back_low: Tensor, x: Tensor) -> None:
    """Tells whoever looks; called by each backward."""
    if _seen is not None:
        _seen(weight, dy * s, low, back_low, x)


class _LoraProduct(torch.autograd.Function):
    """(N, in) → (N, out). No view is made inside: what follows may add to the result in place (Falcon does)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | NF4, bias: Tensor | None, a: Tensor, b: Tensor, s: float
    ) -> Tensor:
        ctx.save_for_backward(x, a, b)
        ctx.weight, ctx.s = weight, s
        w = dense(weight, x.dtype)
        y = torch.mm(x, w.t()) if bias is None else torch.addmm(bias, x, w.t())
        return y.addmm_(products.product(x, a), b.t(), alpha=s)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b = ctx.saved_tensors
        low, da, db = _low_rank_grads(dy, x, a, b, ctx.s)
        if _seen is not None:
            show(ctx.weight, dy, ctx.s, products.product(x, a), low, x)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(dy, dense(ctx.weight, dy.dtype)).addmm_(low, a)
        return dx, None, None, da, db, None


class _DoraProduct(torch.autograd.Function):
    """As _LoraProduct. The norms count as constants in backward, as the paper has it (section 4.3) and PEFT does it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | NF4, bias: Tensor | None, a: Tensor, b: Tensor, m: Tensor, s: float
    ) -> Tensor:
        v = torch.addmm(dense(weight, x.dtype), b, a, alpha=s)
        norm: Tensor = torch.linalg.vector_norm(v, dim=1)
        z = torch.mm(x, v.t())
        ctx.save_for_backward(x, z, a, b, m, norm)
        ctx.weight, ctx.s = weight, s
        y: Tensor = z * (m / norm)
        if bias is not None:
            y += bias
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, z, a, b, m, norm = ctx.saved_tensors
        dm = (dy * z).sum(0).div_(norm)
        dz = dy * (m / norm)
        _, da, db = _low_rank_grads(dz, x, a, b, ctx.s)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(dz, torch.addmm(dense(ctx.weight, dy.dtype), b, a, alpha=ctx.s))
        return dx, None, None, da, db, dm, None


def _low_rank_grads(dy: Tensor, rows: Tensor, a: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    """(s · dy B, dA, dB) of s · (rows Aᵀ) Bᵀ."""
    low = products.product_back(dy, b).mul_(s)  # (N, r)
    return low, products.product_weight(low, rows), products.product_weight(dy, products.product(rows, a)).mul_(s)


class LowRankLinear(Adapted):
    """A frozen linear layer with trainable matrices A and B beside it."""

    def __init__(self, linear: nn.Linear | NF4Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__(linear)
        self.scale = config.scale
        # PEFT's start: A Kaiming-uniform with a = √5, i.e. U(±1/√in); B zero, so that the model begins unchanged.
        bound = 1 / math.sqrt(linear.in_features)
        start = torch.rand(config.rank, linear.in_features, generator=generator) * (2 * bound) - bound
        self.lora_A = nn.Parameter(start.to(linear.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, config.rank, device=linear.weight.device))

    def saved(self) -> dict[str, nn.Parameter]:
        return {"lora_A.weight": self.lora_A, "lora_B.weight": self.lora_B}

    def adds_nothing(self) -> bool:
        return not self.lora_B.any()

    def _sum(self) -> Tensor:
        """W + s · B A in float32."""
        return dense(self.weight, torch.float32) + self.scale * (self.lora_B.float() @ self.lora_A.float())


class LoraLinear(LowRankLinear):
    """LoRA and rsLoRA: they differ in `scale` alone."""

    def adapted(self, x: Tensor) -> Tensor:
        a, b = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype)
        rows = x.reshape(-1, x.shape[-1])
        product: Tensor = _LoraProduct.apply(rows, self.weight, self.bias, a, b, self.scale)  # type: ignore[no-untyped-call]
        return product.view(*x.shape[:-1], -1)

    def merged(self) -> Tensor:
        return self._sum().to(self.weight.dtype)


class DoraLinear(LowRankLinear):
    """DoRA: the low-rank term turns the rows of the weight, a trained magnitude gives them their length."""

    def __init__(self, linear: nn.Linear | NF4Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__(linear, config, generator)
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(dense(self.weight, torch.float32).detach(), dim=1))

    def saved(self) -> dict[str, nn.Parameter]:
        return super().saved() | {"lora_magnitude_vector": self.magnitude}

    def adapted(self, x: Tensor) -> Tensor:
        a, b, m = self.lora_A.to(x.dtype), self.lora_B.to(x.dtype), self.magnitude.to(x.dtype)
        rows = x.reshape(-1, x.shape[-1])
        product: Tensor = _DoraProduct.apply(rows, self.weight, self.bias, a, b, m, self.scale)  # type: ignore[no-untyped-call]
        return product.view(*x.shape[:-1], -1)

    def merged(self) -> Tensor:
        v = self._sum()
        gain: Tensor = self.magnitude / torch.linalg.vector_norm(v, dim=1)
        return (v * gain[:, None]).to(self.weight.dtype)


def decoder_linears(model: nn.Module) -> list[str]:
    """Full names of the model's linear layers but the head: those that compute x Wᵀ + b and nothing else."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return [name for name, module in model.named_modules() if _is_linear(module) and module is not head]


@torch.no_grad()
def _is_linear(module: nn.Module) -> bool:
    """A subclass of nn.Linear may do anything: PhiMoE's router chooses experts, Falcon's layers are linear again."""
    if type(module) in (nn.Linear, NF4Linear):
        return True
    if not isinstance(module, nn.Linear):
        return False
    x = torch.ones(1, module.in_features, device=module.weight.device, dtype=module.weight.dtype)
    try:
        found = module(x)
    except (TypeError, ValueError, RuntimeError):
        return False
    expected = nn.functional.linear(x, module.weight, module.bias)
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    return found.is_meta or torch.allclose(found, expected, rtol=1e-2, atol=1e-3)  # in bfloat16 too


def all_targets(model: nn.Module) -> tuple[str, ...]:
    """Names of every kind of linear layer in the blocks, e.g. q_proj … down_proj ("LoRA Without Regret", 2025)."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in decoder_linears(model)}))


def targeted(model: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Full names of the linear layers that are meant; as in PEFT, a target is the end of a name.

    Raises UsageError where a target is no layer's, or the model has none.
    """
    linears = decoder_linears(model)
    if not linears:
        raise UsageError(
            tr(f"{type(model).__name__} has no linear layers that an adapter could be added to.",
               f"{type(model).__name__} にはアダプターを付けられる線形層がありません。"),
            tr("Use adapter=full or adapter=last.", "adapter=full または adapter=last を使ってください。"),
            code="model_unsupported",
        )  # fmt: skip
    if not targets:
        raise UsageError(
            tr("lora_targets is empty.", "lora_targets が空です。"), code="bad_value", param="lora_targets"
        )
    if unknown := [target for target in targets if not _named(target, linears)]:
        known = ", ".join(all_targets(model))
        raise UsageError(
            tr(f"No layer is called {', '.join(unknown)}.", f"{', '.join(unknown)} という層はありません。"),
            tr(f"This model has {known}.", f"このモデルの層: {known}"),
            code="bad_value",
            param="lora_targets",
        )
    meant = {name for target in targets for name in _named(target, linears)}
    return [name for name in linears if name in meant]


def _named(target: str, layers: Iterable[str]) -> list[str]:
    return [name for name in layers if f".{name}".endswith(f".{target}")]


def known_targets(model: nn.Module, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Those that name a layer, or all where none does: an adapter's own list may be made for other models as well."""
    linears = decoder_linears(model)
    return tuple(target for target in targets if _named(target, linears)) or targets


def add(model: nn.Module, config: LoraConfig, seed: int) -> None:
    """Freezes the model and puts an adapter on the targeted layers. Same seed, same adapter, on every device."""
    names = targeted(model, config.targets)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent)
        setattr(owner, leaf, (DoraLinear if config.dora else LoraLinear)(getattr(owner, leaf), config, generator))


def read_config(config: Mapping[str, Any], folder: Path) -> LoraConfig:
    """What adapter_config.json of a folder says, written by PEFT or by us; raises SodateError on a kind this module
    can't reproduce, and on values that no adapter has."""
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
                f"{folder} のアダプターの {what} には対応していません。",
            ),
            code="adapter_unsupported",
            file=folder,
        )
    targets, rank, alpha = config.get("target_modules"), config.get("r"), config.get("lora_alpha")
    if isinstance(targets, str):
        raise SodateError(
            tr(
                f"{folder}: target_modules is a pattern; list the layer names instead.",
                f"{folder}: target_modules がパターンです。層の名前を列挙してください。",
            ),
            code="adapter_unsupported",
            file=folder,
        )
    if (
        type(rank) is not int or not 1 <= rank <= MAX_RANK
        or isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < MAX_ALPHA
        or not isinstance(targets, list) or len(targets) > MAX_TARGETS
        or not all(isinstance(one, str) and len(one) < 500 for one in targets)
    ):  # fmt: skip
        raise unsound(folder, tr("target_modules, r or lora_alpha is not what it has to be",
                                 "target_modules、r、lora_alpha のいずれかの値が正しくありません"))  # fmt: skip
    variant = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    return LoraConfig(rank, alpha, tuple(sorted(targets)), *variant)


def unsound(folder: Path, why: str) -> SodateError:
    """An adapter whose files say what can't be."""
    return SodateError(
        tr(f"The adapter in {folder} is damaged: {en(why)}.", f"{folder} のアダプターが壊れています: {ja(why)}。"),
        code="damaged", param="init_adapter", file=folder,
    )  # fmt: skip


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
        "use_dora": config.dora,
        "target_modules": list(config.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
