"""Linear layers of a model that only decodes: by the products of sodate.losses.products, whose few rows go on the right
of the weight (bench/decode.py)."""

from __future__ import annotations

from torch import Tensor, nn

from sodate.losses import products


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b for x (…, in), W (out, in)."""
    y = products.product(x.reshape(-1, x.shape[-1]), weight)
    if bias is not None:
        y += bias
    return y.view(*x.shape[:-1], -1)


class FrozenLinear(nn.Module):
    """A linear layer that is never trained again."""

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
                setattr(parent, name, FrozenLinear(child))
