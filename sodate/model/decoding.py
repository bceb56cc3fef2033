"""Linear layers for decoding: few rows, so the weight goes on the left.

A decoding step multiplies 1 to a few hundred rows by every weight. BLAS splits its work along the left matrix's rows;
with y = (W·xᵀ)ᵀ those are the thousands of output features instead of the few rows (bench/decode.py measures what it
gives), and the next layer's xᵀ is then contiguous already.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEW_ROWS = 256


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b for x (…, in), W (out, in); with few rows the result is a transposed view."""
    rows = x.reshape(-1, x.shape[-1])
    if rows.shape[0] > FEW_ROWS or x.is_cuda:
        return nn.functional.linear(x, weight, bias)
    y = torch.mm(weight, rows.t())
    if bias is not None:
        y += bias[:, None]
    return y.t().view(*x.shape[:-1], -1)


class LeftLinear(nn.Module):
    """A frozen linear layer that multiplies from the left."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


def prepare(model: nn.Module) -> None:
    """Makes every plain linear layer of the decoder ready for decoding; the model can't be trained afterwards."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not model.get_output_embeddings():  # type: ignore[operator]
                setattr(parent, name, LeftLinear(child))
