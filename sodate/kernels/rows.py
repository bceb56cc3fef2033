"""A decoding step's few rows on a CPU, by _rows.c: a block as a dozen calls into compiled code instead of a hundred
into torch, and products that read their weight once, at the speed of memory (docs/lab/decoding.md).

Rows lie side by side here: arrays are (features, L), L the rows rounded up to 16; what is added is zeros.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.kernels import compiled, products
from sodate.kernels.gate import KINDS

FEW = 64  # as many as _rows.c has room for; its products are faster than oneDNN's up to here (bench/decode.py)
VERY_FEW = 4  # rows for which products are as fast as memory gives the weight
AT_ONCE = 16  # as many are taken one behind the other, and by a whole decoder's step
STEPS = (VERY_FEW, AT_ONCE, FEW)  # up to each of these numbers of rows another piece of code is at work
Array = NDArray[Any]


def multiplies(weight: Tensor) -> bool:
    """Whether `product` takes the weight (out, in), on this processor."""
    if compiled is None or weight.device.type != "cpu" or not weight.is_contiguous():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(compiled.BFLOAT16) and weight.shape[1] % 2 == 0
    return weight.dtype == torch.float32 and bool(compiled.FLOAT32)


_slower: frozenset[int] = frozenset()


def leave_to_torch(steps: Collection[int]) -> None:
    """From here on torch computes what has so many rows (some of STEPS), as it is faster here (machine.py tries)."""
    global _slower
    _slower = frozenset(steps)


def takes(count: int) -> bool:
    """Whether so many rows are computed by compiled code."""
    return 0 < count <= FEW and next(step for step in STEPS if count <= step) not in _slower


def side_by_side(x: Tensor) -> Array:
    """(features, L) of x (n, features)."""
    out = np.zeros((x.shape[1], -(-len(x) // 16) * 16), dtype=np.float32)
    out[:, : len(x)] = x.t().numpy()
    return out


def apart(x: Array, count: int) -> Tensor:
    """(n, features), a view, of x (features, L)."""
    return torch.from_numpy(x)[:, :count].t()


class Product:
    """x ↦ W x + b, for W (out, in), b (out,) or None. A weight with `packed` (packed.py) is read in that form, one with
    `bfloat16_bits` for very few rows."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight: Array = (weight.view(torch.int16) if weight.dtype == torch.bfloat16 else weight).numpy()
        self.packed: Array | None = getattr(weight, "packed", None)
        self.bfloat16_bits: Array | None = getattr(weight, "bfloat16_bits", None)
        self.bias: Array | None = None if bias is None else bias.float().numpy()[:, None]

    def form(self, count: int) -> Array:
        """What is read for so many rows: the fewest bytes, where code can multiply these."""
        if self.packed is not None:
            return self.packed
        return self.bfloat16_bits if self.bfloat16_bits is not None and count <= VERY_FEW else self.weight

    def __call__(self, x: Array, count: int | None = None) -> Array:
        """`count` of x's rows are meant; a few take less time than all that there is room for."""
        assert compiled is not None
        out = np.empty((len(self.weight), x.shape[1]), dtype=np.float32)
        count = count or x.shape[1]
        if self.packed is not None:
            compiled.few(x, self.packed, out, count)
        elif compiled.FEW and count <= VERY_FEW:
            compiled.few(x, self.form(count), out, count)
        else:
            compiled.product(x, self.weight, out)
        if self.bias is not None:
            out += self.bias
        return out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b for x (…, in), W (out, in), without a gradient. Few rows on a CPU give float32, whatever the weight's
    precision."""
    flat = x.reshape(-1, x.shape[-1])
    rounded = flat.dtype == torch.float32 and weight.dtype == torch.bfloat16  # x would be, to the weight's type
    if takes(len(flat)) and flat.dtype != torch.float64 and not rounded and multiplies(weight):
        product = Product(weight, bias)
        assert compiled is not None
        if len(flat) <= AT_ONCE and compiled.FEW and weight.dtype == torch.float32:
            y = torch.empty(len(flat), len(weight))
            compiled.few_behind(flat.float().contiguous().numpy(), product.form(len(flat)), y.numpy())
            return (y if bias is None else y.add_(bias)).view(*x.shape[:-1], -1)
        side = product(side_by_side(flat.float()), len(flat))
        return apart(side, len(flat)).view(*x.shape[:-1], -1)
    y = products.product(flat, products.operand(weight, x.dtype))
    if bias is not None:
        y = y.add_(bias)
    return y.view(*x.shape[:-1], -1)


class Norm:
    """x ↦ RMSNorm of each of its heads (D each, one or several), for w (D,)."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight: Array = weight.numpy()
        self.eps = eps

    def __call__(self, x: Array, out: Array | None = None) -> Array:
        assert compiled is not None
        out = np.empty_like(x) if out is None else out
        compiled.norm(x, self.weight, out, self.eps)
        return out


def rotate(x: Array, cos: Array, sin: Array) -> None:
    """Rotary embedding in place: x (heads · D, L), cos and sin (D, L)."""
    assert compiled is not None
    compiled.rotate(x, cos, sin)


def gate(x: Array, kind: str) -> Array:
    """(I, L): the activation of x's first half times its second."""
    assert compiled is not None
    half = len(x) // 2
    out = np.empty((half, x.shape[1]), dtype=np.float32)
    compiled.gate(x[:half], x[half:], out, KINDS[kind])
    return out
