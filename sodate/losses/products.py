"""Matrix products of training, each by the fastest exact routine the machine has.

On CPUs with AVX-512 float32 products go to oneDNN rather than to the BLAS that torch.mm calls: the same sums in another
order, and on processors that are not Intel's a third faster, because MKL keeps its AVX-512 kernels for its maker's
(docs/performance.md). oneDNN wants matrices that lie densely and are not thin; all others stay with torch.mm, and so
does nearly all on CPUs without AVX-512, where MKL is a tenth faster.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
_THIN = 64
_VOCABULARY = 8192  # logits: oneDNN is the faster one without AVX-512 as well
_FEW_ROWS = 128  # below this a product is split along the features rather than the rows


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ: (N, in), (out, in) → (N, out); with few rows or outputs maybe a transposed view of W xᵀ."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or not (_dense(x) and _dense(weight)):
        return torch.mm(x, weight.t())
    if min(weight.shape) >= _THIN:
        if len(weight) >= _VOCABULARY:  # the passes of a softmax want whole rows
            return _large(x, weight, True)
        return _large(weight, x, _AVX512).t() if len(x) < _FEW_ROWS else _large(x, weight, _AVX512)
    if len(weight) < _THIN and not weight.is_contiguous():  # an adapter's B lies this way: twice as fast
        return torch.mm(weight, x.t()).t()
    return torch.mm(x, weight.t())


def _large(x: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    if not (_ONEDNN and onednn):
        return torch.mm(x, weight.t())
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return y


def _dense(matrix: Tensor) -> bool:
    return matrix.numel() > 0 and (matrix.is_contiguous() or matrix.t().is_contiguous())


def product_back(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W: (N, out), (out, in) → (N, in), the gradient of x."""
    return product(dy, weight.t())


def product_weight(dy: Tensor, x: Tensor) -> Tensor:
    """dyᵀ x: (N, out), (N, in) → (out, in), the gradient of W; of a thin one a transposed view, in a third of the time.
    (oneDNN is no faster at these.)"""
    if x.dtype == torch.float32 and x.shape[1] < _THIN:
        return torch.mm(x.t(), dy).t()
    return torch.mm(dy.t(), x)
