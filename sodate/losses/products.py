"""Matrix products of training, each by the fastest exact routine the machine has.

On CPUs float32 products go to oneDNN rather than to the BLAS that torch.mm calls: the same sums in another order, and
on processors that are not Intel's a third faster, because MKL keeps its AVX-512 kernels for its maker's
(docs/performance.md). oneDNN needs matrices that lie densely and are not thin; all others stay with torch.mm.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_THIN = 64


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x Wᵀ: (N, in), (out, in) → (N, out)."""
    wide = min(*x.shape, *weight.shape) >= _THIN
    dense_layout = x.is_contiguous() and (weight.is_contiguous() or weight.t().is_contiguous())
    if _ONEDNN and wide and dense_layout and x.dtype == torch.float32 and x.device.type == "cpu":
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return y
    return torch.mm(x, weight.t())


def product_back(dy: Tensor, weight: Tensor) -> Tensor:
    """dy W: (N, out), (out, in) → (N, in), the gradient of x."""
    return product(dy, weight.t())


def product_weight(dy: Tensor, x: Tensor) -> Tensor:
    """dyᵀ x: (N, out), (N, in) → (out, in), the gradient of W. (oneDNN is no faster at these.)"""
    return torch.mm(dy.t(), x)
