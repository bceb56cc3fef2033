"""NF4 with double quantisation (QLoRA, arXiv 2305.14314): a frozen weight in 4.13 bits a number, by bitsandbytes.

Blocks of 64 numbers share a scale, their largest magnitude; each number is one of 16 quantiles of a normal
distribution times it. The scales themselves are quantised: 8 bits, in blocks of 256, after their mean is taken off.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 64


class NF4:
    """A matrix (out, in) in 4 bits. Not a Tensor: whoever multiplies by it asks `dense` for one, and lets it go."""

    def __init__(self, weight: Tensor, dtype: torch.dtype | None = None) -> None:
        """`dtype` is that of the layer it is for. The codes don't depend on it: they are made from float32."""
        self.shape = weight.shape
        self.dtype = dtype or weight.dtype
        self.device = weight.device
        self._packed, self._state = _bitsandbytes().quantize_4bit(
            weight.detach().float().contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )

    @property
    def nbytes(self) -> int:
        """Bytes held: codes, 8-bit scales, and the scales' own scales."""
        outer: Any = self._state.state2
        return int(self._packed.nbytes + self._state.absmax.nbytes + outer.absmax.nbytes)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """(out, in) in `dtype`, made anew at each call."""
        self._state.dtype = dtype
        out: Tensor = _bitsandbytes().dequantize_4bit(self._packed, self._state)
        return out


def dense(weight: Tensor | NF4, dtype: torch.dtype) -> Tensor:
    """The weight as a tensor of `dtype`: itself where it is one already, a temporary where it is quantised."""
    return weight.to(dtype) if isinstance(weight, Tensor) else weight.dense(dtype)


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ + b where W is in 4 bits: it is dequantised again in backward rather than kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: NF4, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return nn.functional.linear(x, dense(weight, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return dy @ dense(ctx.weight, dy.dtype), None, None


def frozen_product(x: Tensor, weight: Tensor | NF4, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b, (…, out), where neither W nor b is trained."""
    if isinstance(weight, Tensor):
        return nn.functional.linear(x, weight, bias)
    product: Tensor = _FrozenProduct.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return product


class NF4Linear(nn.Module):
    """A frozen linear layer in 4 bits, in place of an nn.Linear."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = NF4(weight, dtype)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        return frozen_product(x, self.weight, self.bias)


@functools.cache
def _bitsandbytes() -> Any:
    """bitsandbytes.functional, whose import would fetch a kernel from the hub and run it on some CPUs: kept shut."""
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, there = log.level, sys.modules.get("kernels")
    log.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        from bitsandbytes import functional
    finally:
        log.setLevel(level)
        del sys.modules["kernels"]
        if there is not None:
            sys.modules["kernels"] = there
    return functional
