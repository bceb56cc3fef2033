"""Linear layers that read the same input, with their adapters, as one autograd step.

    yᵢ = x Wᵢᵀ + bᵢ + sᵢ · (x Aᵢᵀ) Bᵢᵀ          Wᵢ (out, in), Aᵢ (r, in), Bᵢ (out, r)

x is saved once for all of them, or computed again (kernels/recomputed.py); x Aᵀ of all adapters is one product, and
kept (r columns: next to nothing); every sum happens in place. Weights may be kept in another precision than x (float32
masters under bfloat16 products, a file's bfloat16 under float32) or quantised: they are converted for the product and
again in backward, and never saved so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sodate.adapt.lora import LoraLinear, show
from sodate.adapt.quantise import dense
from sodate.kernels.products import add_product_back, operand, product, product_back, product_weight
from sodate.kernels.recomputed import Recompute, save_for_backward, saved_tensors


class Projection(NamedTuple):
    """One layer: weight (out, in), and where there are any its bias (out,), adapter A (r, in), B (out, r), scale s."""

    weight: Any
    bias: Tensor | None
    a: Tensor | None
    b: Tensor | None
    scale: float


PER_PART = 4  # tensors of a Part


def part_of(layer: Any, dtype: torch.dtype) -> Projection:
    """A plain or LoRA layer's tensors for products in `dtype`."""
    adapted = isinstance(layer, LoraLinear) and layer.enabled
    a, b = (layer.lora_A.to(dtype), layer.lora_B.to(dtype)) if adapted else (None, None)
    return Projection(layer.weight, layer.bias, a, b, layer.scale if adapted else 0.0)


def _stacked(parts: Sequence[Projection]) -> Tensor | None:
    """All A (Σr, in), one below the other."""
    factors = [p.a for p in parts if p.a is not None]
    return torch.cat(factors) if len(factors) > 1 else factors[0] if factors else None


def _weight(part: Projection, dtype: torch.dtype) -> Tensor:
    return operand(part.weight, dtype) if isinstance(part.weight, Tensor) else dense(part.weight, dtype)


def forward(rows: Tensor, parts: Sequence[Projection]) -> tuple[list[Tensor], Tensor | None]:
    """(N, in) → each part's (N, out), and x Aᵀ of them all, (N, Σr), for backward."""
    stacked, at, outputs = _stacked(parts), 0, []
    low = None if stacked is None else product(rows, stacked)
    for p in parts:
        y = product(rows, _weight(p, rows.dtype))
        if p.bias is not None:
            y += p.bias
        if low is not None and p.a is not None and p.b is not None:
            y.addmm_(low[:, at : at + len(p.a)], p.b.t(), alpha=p.scale)
            at += len(p.a)
        outputs.append(y)
    return outputs, low


def backward(
    grads: Sequence[Tensor], rows: Tensor, low: Tensor | None, parts: Sequence[Projection], needs_x: bool,
    trained: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:  # fmt: skip
    """dx (N, in) and, flat, each part's (dW, dbias, dA, dB). `trained` says, in the same order, which are wanted."""
    stacked, at = _stacked(parts), 0
    back_low = None if low is None else torch.empty_like(low)
    dx: Tensor | None = None
    out: list[Tensor | None] = []
    for i, (dy, p) in enumerate(zip(grads, parts, strict=True)):
        wants_weight, wants_bias = trained[PER_PART * i], trained[PER_PART * i + 1]
        db = None
        if low is not None and back_low is not None and p.a is not None and p.b is not None:
            columns = slice(at, at + len(p.a))
            back_low[:, columns] = product_back(dy, p.b).mul_(p.scale)
            db = product_weight(dy, low[:, columns]).mul_(p.scale)
            show(p.weight, dy, p.scale, low[:, columns], back_low[:, columns], rows)
            at += len(p.a)
        dw = product_weight(dy, rows).to(p.weight.dtype) if wants_weight else None
        dbias = dy.sum(0).to(p.bias.dtype) if wants_bias and p.bias is not None else None
        if needs_x:
            weight = _weight(p, dy.dtype)
            dx = product_back(dy, weight) if dx is None else add_product_back(dx, dy, weight)
        out += [dw, dbias, None, db]
    if stacked is not None and back_low is not None:
        da, at = product_weight(back_low, rows), 0
        if dx is not None:
            dx.addmm_(back_low, stacked)
        for i, p in enumerate(parts):
            if p.a is not None:
                out[PER_PART * i + 2] = da[at : at + len(p.a)]
                at += len(p.a)
    return dx, out


def flatten(parts: Sequence[Projection]) -> list[Any]:
    """What an autograd Function takes as its last arguments; `unflatten` makes parts of it again."""
    return [t for p in parts for t in p[:PER_PART]]


def unflatten(flat: Sequence[Any], scales: Sequence[float]) -> list[Projection]:
    parts = []
    for i, scale in enumerate(scales):
        weight, bias, a, b = flat[PER_PART * i : PER_PART * (i + 1)]
        parts.append(Projection(weight, bias, a, b, scale))
    return parts


def save(ctx: Any, flat: Sequence[Any], recompute: Recompute | None, x: Tensor, *tensors: Tensor | None) -> None:
    """Keeps x, `tensors` and parts for backward. A quantised weight is not a tensor that autograd could keep."""
    save_for_backward(ctx, (recompute,), x, *tensors, *(t if isinstance(t, Tensor) else None for t in flat))
    ctx.others = [None if isinstance(t, Tensor) else t for t in flat]


def saved(ctx: Any, scales: Sequence[float]) -> tuple[list[Any], list[Projection]]:
    """What `save` kept."""
    tensors = saved_tensors(ctx)
    count = len(tensors) - len(ctx.others)
    flat = [other if t is None else t for t, other in zip(tensors[count:], ctx.others, strict=True)]
    return tensors[:count], unflatten(flat, scales)


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, recompute: Recompute | None, scales: tuple[float, ...], *flat: Any
    ) -> tuple[Tensor, ...]:
        outputs, low = forward(x.reshape(-1, x.shape[-1]), unflatten(flat, scales))
        save(ctx, flat, recompute, x, low)
        ctx.scales = scales
        return tuple(y.view(*x.shape[:-1], -1) for y in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, low), parts = saved(ctx, ctx.scales)
        needs = ctx.needs_input_grad
        flat_grads = [g.reshape(-1, g.shape[-1]) for g in grads]
        dx, out = backward(flat_grads, x.reshape(-1, x.shape[-1]), low, parts, needs[0], needs[3:])
        return (dx.view(*grads[0].shape[:-1], -1) if dx is not None else None, None, None, *out)


def project(x: Tensor, layers: Sequence[nn.Module], recompute: Recompute | None = None) -> tuple[Tensor, ...]:
    """Every layer's output for the same x (…, in). `made`: how x is made again, in any shape of the same rows."""
    parts = [part_of(layer, x.dtype) for layer in layers]
    scales = tuple(p.scale for p in parts)
    outputs: tuple[Tensor, ...] = _Projected.apply(x, recompute, scales, *flatten(parts))  # type: ignore[no-untyped-call]
    return outputs
