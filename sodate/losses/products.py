"""Matrix products of training, each by the fastest exact routine the machine has.

On CPUs float32 products go to oneDNN rather than to the BLAS that torch.mm calls: the same sums in another order, and
on processors that are not Intel's a third faster, because MKL keeps its AVX-512 kernels for its maker's
(docs/performance.md). oneDNN wants matrices that lie densely and are not thin; all others stay with torch.mm.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_THIN = 64
FEW_ROWS = 128  # below this a product is split along the features rather than the rows


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ: (N, in), (out, in) → (N, out); with few rows, as in decoding, a transposed view of W xᵀ."""
    if not (_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and _dense(x) and _dense(weight)):
        return torch.mm(x, weight.t())
    if len(x) < FEW_ROWS and min(weight.shape) >= _THIN:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(weight, x, None, "none", [], "")
        return y.t()
    if min(*x.shape, *weight.shape) >= _THIN:
        z: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return z
    return torch.mm(x, weight.t())


def _dense(matrix: Tensor) -> bool:
    return matrix.numel() > 0 and (matrix.is_contiguous() or matrix.t().is_contiguous())


def product_back(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W: (N, out), (out, in) → (N, in), the gradient of x."""
    return product(dy, weight.t())


def product_weight(dy: Tensor, x: Tensor) -> Tensor:
    """dyᵀ x: (N, out), (N, in) → (out, in), the gradient of W. (oneDNN is no faster at these.)"""
    return torch.mm(dy.t(), x)
