"""Fewer passes and fewer saved tensors for the parts every Llama-like decoder has, in place of transformers' modules.

The gated MLP  y = (act(x Wgᵀ) ∘ (x Wuᵀ)) Wdᵀ  with adapters on its three layers saves x and the two products, and
remakes the activation and the gated product in backward: two tensors of the layer's widest kind less than autograd
keeps. RMSNorm (arXiv 1910.07467) saves x and one number per token. Both compute what the modules they replace do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sodate.model.lora import LoraLinear

_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUTanh": "gelu_tanh", "PytorchGELUTanh": "gelu_tanh"}


def _activate(kind: str, gate: Tensor) -> Tensor:
    return nn.functional.silu(gate) if kind == "silu" else nn.functional.gelu(gate, approximate="tanh")


def _activate_backward(kind: str, grad: Tensor, gate: Tensor) -> Tensor:
    if kind == "silu":
        out: Tensor = torch.ops.aten.silu_backward(grad, gate)
        return out
    back: Tensor = torch.ops.aten.gelu_backward(grad, gate, approximate="tanh")
    return back


def _product(rows: Tensor, weight: Tensor, a: Tensor, b: Tensor, s: float) -> Tensor:
    return torch.mm(rows, weight.t()).addmm_(torch.mm(rows, a.t()), b.t(), alpha=s)


def _adapter_grads(dy: Tensor, rows: Tensor, a: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    """(s·dy·B, dA, dB) of a LoRA product."""
    low = torch.mm(dy, b).mul_(s)
    return low, torch.mm(low.t(), rows), torch.mm(dy.t(), torch.mm(rows, a.t())).mul_(s)


class _GatedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, wg: Tensor, ag: Tensor, bg: Tensor, wu: Tensor, au: Tensor, bu: Tensor,
        wd: Tensor, ad: Tensor, bd: Tensor, kind: str, scales: tuple[float, float, float],
    ) -> Tensor:  # fmt: skip
        rows = x.reshape(-1, x.shape[-1])
        gate, up = _product(rows, wg, ag, bg, scales[0]), _product(rows, wu, au, bu, scales[1])
        ctx.save_for_backward(x, gate, up, wg, ag, bg, wu, au, bu, wd, ad, bd)
        ctx.kind, ctx.scales = kind, scales
        y: Tensor = _product(_activate(kind, gate).mul_(up), wd, ad, bd, scales[2])
        return y.view_as(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, wg, ag, bg, wu, au, bu, wd, ad, bd = ctx.saved_tensors
        rows, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
        active = _activate(ctx.kind, gate)
        low, dad, dbd = _adapter_grads(dy, active * up, ad, bd, ctx.scales[2])
        dh = torch.mm(dy, wd).addmm_(low, ad)
        dup = active.mul_(dh)
        dgate = _activate_backward(ctx.kind, dh.mul_(up), gate)
        low_g, dag, dbg = _adapter_grads(dgate, rows, ag, bg, ctx.scales[0])
        low_u, dau, dbu = _adapter_grads(dup, rows, au, bu, ctx.scales[1])
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(dgate, wg).addmm_(dup, wu).addmm_(low_g, ag).addmm_(low_u, au).view_as(x)
        return dx, None, dag, dbg, None, dau, dbu, None, dad, dbd, None, None


class GatedMLP(nn.Module):
    """A gated MLP whose three layers carry adapters. Parameter names stay those of the module it replaces."""

    def __init__(self, mlp: Any, kind: str) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = mlp.gate_proj, mlp.up_proj, mlp.down_proj
        self.act_fn = mlp.act_fn
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        g, u, d = self.gate_proj, self.up_proj, self.down_proj
        if not g.enabled:
            plain: Tensor = d(self.act_fn(g(x)) * u(x))
            return plain
        low = [t.to(x.dtype) for layer in (g, u, d) for t in (layer.lora_A, layer.lora_B)]
        out: Tensor = _GatedMLP.apply(  # type: ignore[no-untyped-call]
            x, g.weight, *low[:2], u.weight, *low[2:4], d.weight, *low[4:], self.kind, (g.scale, u.scale, d.scale)
        )
        return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rstd = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, rstd, weight)
        y: Tensor = (x * rstd).mul_(weight)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, rstd, weight = ctx.saved_tensors
        # x̂ = x·rstd;  dx = rstd·(w·dy - x̂·mean(w·dy·x̂))
        grad = dy * weight
        mean = (grad * x).sum(-1, keepdim=True).mul_(rstd * rstd / x.shape[-1])
        return grad.sub_(x * mean).mul_(rstd), None, None


class RMSNorm(nn.Module):
    """A frozen RMSNorm in the model's own precision."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return out


def _norm_weight(module: nn.Module) -> Tensor | None:
    """The effective weight of an RMSNorm found by what it does: y(1) is weight, or 1 + weight (Gemma)."""
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or weight is None or weight.dim() != 1:
        return None
    with torch.no_grad():
        effective: Tensor = module(torch.ones(1, len(weight), dtype=weight.dtype, device=weight.device))[0]
        x = torch.randn(2, len(weight), dtype=weight.dtype, device=weight.device, generator=_generator(weight))
        eps = _eps(module)
        if eps is None:
            return None
        effective = effective * (1 + eps) ** 0.5
        same = torch.allclose(_RMSNorm.apply(x, effective, eps), module(x), rtol=1e-4, atol=1e-5)  # type: ignore[no-untyped-call]
    return effective if same else None


def _generator(like: Tensor) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(0)


def _eps(module: nn.Module) -> float | None:
    return next((float(getattr(module, n)) for n in ("variance_epsilon", "eps") if hasattr(module, n)), None)


def prepare(model: nn.Module) -> None:
    """Replaces what can be replaced exactly in a model whose base is frozen; leaves every other module as it is."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            projections = [getattr(child, p, None) for p in ("gate_proj", "up_proj", "down_proj")]
            kind = _ACTIVATIONS.get(type(getattr(child, "act_fn", None)).__name__)
            if kind and all(isinstance(p, LoraLinear) and p.bias is None for p in projections):
                setattr(parent, name, GatedMLP(child, kind))
            elif all(not p.requires_grad for p in child.parameters()) and child is not model:
                weight = _norm_weight(child) if next(child.parameters(), None) is not None else None
                if weight is not None and weight.dtype == torch.float32:
                    setattr(parent, name, RMSNorm(weight, _eps(child) or 0.0))
