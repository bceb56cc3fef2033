"""Matrix products of training, each by the fastest exact routine the machine has.

On CPUs with AVX-512 float32 products go to oneDNN rather than to the BLAS that torch.mm calls: the same sums in another
order, and on processors that are not Intel's a third faster, because MKL keeps its AVX-512 kernels for its maker's
(docs/lab/step.md); without AVX-512 MKL is a tenth faster. Training tries both first (machine.py). oneDNN wants
matrices that lie densely and are not thin; all others stay with torch.mm.

A frozen weight may be kept narrower than what it is multiplied by (model/stored_precision.py). It is widened block by
block.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sodate.kernels import threads

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
_THIN = 64
_ALIKE = 16
_VOCABULARY = 8192  # logits: oneDNN is the faster one without AVX-512 as well
_WIDENED = 1 << 21  # numbers: a narrow weight of no more is widened whole
_BLOCK = 1024  # rows of a larger one that are widened at once, so that they stay in reach of the caches
_onednn = AVX512  # whether float32 products go to oneDNN: `use_library` says otherwise
_DEEP = 512  # numbers of a thin product's sums that MKL adds up alike by one thread and by several
_SUMMED = 1024  # rows of a large weight's gradient that are summed alike by one thread and by several
_FEW_ROWS = 128  # below this a product is split along the features rather than the rows


def use_library(name: str) -> None:
    """From here on large float32 products go to "onednn" or to "mkl", what torch.mm calls (machine.py tries both)."""
    global _onednn
    _onednn = name == "onednn"


def library() -> str:
    return "onednn" if _onednn else "mkl"


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ: (N, in), (out, in) → (N, out); with few rows or outputs maybe a transposed view of W xᵀ."""
    threads.adapt()
    if weight.dtype != x.dtype:
        if weight.numel() <= _WIDENED:
            return product(x, weight.to(x.dtype))
        y = x.new_empty(len(x), len(weight))
        for part, block in _widened(weight, x.dtype):
            if len(x) < _FEW_ROWS:
                y[:, part] = product(x, block)
            else:
                torch.mm(x, block.t(), out=y[:, part])
        return y
    if x.dtype != torch.float32 or x.device.type != "cpu" or not (_dense(x) and _dense(weight)):
        return torch.mm(x, weight.t())
    if min(weight.shape) >= _THIN:
        if len(weight) >= _VOCABULARY:  # the passes of a softmax want whole rows
            return _large(x, weight, True)
        return _large(weight, x, _onednn).t() if len(x) < _FEW_ROWS else _large(x, weight, _onednn)
    if len(x) < _ALIKE:  # as many rows that MKL sums alike by one thread and by several (threads.py)
        return _thin(torch.cat([x, x.new_zeros(_ALIKE - len(x), x.shape[1])]), weight)[: len(x)]
    return _thin(x, weight)


def _thin(x: Tensor, weight: Tensor) -> Tensor:
    """Sums of many numbers in pieces, which MKL doesn't split among threads (`product_weight`)."""
    first, *others = zip(x.split(_DEEP, 1), weight.split(_DEEP, 1), strict=True)
    if len(weight) < _THIN and not weight.is_contiguous():  # an adapter's B lies this way: twice as fast
        total = torch.mm(first[1], first[0].t())
        for part, own in others:
            total.addmm_(own, part.t())
        return total.t()
    total = torch.mm(first[0], first[1].t())
    for part, own in others:
        total.addmm_(part, own.t())
    return total


def _large(x: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    if not (ONEDNN and onednn):
        return torch.mm(x, weight.t())
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return y


def _dense(matrix: Tensor) -> bool:
    return matrix.numel() > 0 and (matrix.is_contiguous() or matrix.t().is_contiguous())


def product_back(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W: (N, out), (out, in) → (N, in), the gradient of x."""
    if weight.dtype == dy.dtype:
        return product(dy, weight.t())
    if weight.numel() <= _WIDENED:
        return product(dy, weight.to(dy.dtype).t())
    dx = dy.new_zeros(len(dy), weight.shape[1])
    for part, block in _widened(weight, dy.dtype):
        dx.addmm_(dy[:, part], block)
    return dx


def add_product_back(dx: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    """dx + dy W, in place."""
    if dx.dtype == dy.dtype == weight.dtype and not _onednn:
        return dx.addmm_(dy, weight)
    return dx.add_(product_back(dy, weight))


def operand(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight as products with `dtype` take it: a narrower one stays as it is."""
    return weight if weight.dtype.itemsize < dtype.itemsize else weight.to(dtype)


def _widened(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the weight and where they are; each block is good until the next is asked for."""
    buffer = torch.empty(_BLOCK, weight.shape[1], dtype=dtype, device=weight.device)
    for start in range(0, len(weight), _BLOCK):
        stored = weight[start : start + _BLOCK]
        yield slice(start, start + len(stored)), buffer[: len(stored)].copy_(stored)


def product_weight(dy: Tensor, x: Tensor) -> Tensor:
    """dyᵀ x: (N, out), (N, in) → (out, in), the gradient of W; of a thin one a transposed view, in a third of the time.
    (oneDNN is no faster at these.)

    Many rows are summed piece by piece: MKL would split them among its threads, and the sum would depend on how many.
    """
    thin = x.dtype == torch.float32 and x.shape[1] < _THIN
    if x.dtype != torch.float32 or x.device.type != "cpu":
        return torch.mm(x.t(), dy).t() if thin else torch.mm(dy.t(), x)
    rows = _THIN if x.shape[1] < _THIN or dy.shape[1] < _THIN else _SUMMED
    first, *others = zip(dy.split(rows), x.split(rows), strict=True)
    if thin:
        total = torch.mm(first[1].t(), first[0])
        for part, own in others:
            total.addmm_(own.t(), part)
        return total.t()
    total = torch.mm(first[0].t(), first[1])
    for part, own in others:
        total.addmm_(part.t(), own)
    return total
