"""What every kind of adapter shares: a frozen linear layer with trainable tensors beside it, by PEFT's names."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from sodate.adapt.quantise import NF4, NF4Linear, frozen_product
from sodate.core.errors import SodateError
from sodate.core.text import tr

PREFIX = "base_model.model."


class Adapted(nn.Module):
    """Stands in place of a linear layer. The same weight, no copy; switched off, it is the layer it replaced."""

    merges = True  # whether one linear layer can compute the same

    def __init__(self, linear: nn.Linear | NF4Linear) -> None:
        super().__init__()
        self.weight: Tensor | NF4 = linear.weight
        self.bias = linear.bias
        self.enabled = True

    def saved(self) -> dict[str, nn.Parameter]:
        """The trainable tensors by their names in a file."""
        raise NotImplementedError

    def adds_nothing(self) -> bool:
        """Whether the layer still computes what the one it replaced does, as a fresh adapter's."""
        raise NotImplementedError

    def merged(self) -> Tensor:
        """The weight (out, in) of the linear layer that computes the same; raises SodateError where there is none."""
        raise NotImplementedError

    def adapted(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.adapted(x) if self.enabled else frozen_product(x, self.weight, self.bias)


def layers(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    for name, module in model.named_modules():
        if isinstance(module, Adapted):
            yield name, module


def state(model: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors by their names in a file."""
    return {f"{PREFIX}{name}.{key}": p.detach() for name, layer in layers(model) for key, p in layer.saved().items()}


def load_state(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Copies an adapter's tensors in; raises SodateError when names or shapes don't fit this model."""
    mine = state(model)
    if set(mine) != set(tensors):
        odd = sorted(set(mine) ^ set(tensors))[0]
        raise SodateError(
            tr(
                f"The adapter in {where} is not for this model: {odd} does not match.",
                f"{where} のアダプターはこのモデル用ではありません: {odd} が一致しません。",
            ),
            code="adapter_mismatch",
            param="init_adapter",
        )
    for name, tensor in mine.items():
        if tensor.shape != tensors[name].shape:
            raise SodateError(
                tr(
                    f"The adapter in {where} is not for this model: {name} has shape {tuple(tensors[name].shape)}, "
                    f"not {tuple(tensor.shape)}.",
                    f"{where} のアダプターはこのモデル用ではありません: {name} の形が違います。",
                ),
                code="adapter_mismatch",
                param="init_adapter",
            )
        tensor.copy_(tensors[name])


def merge(model: nn.Module) -> None:
    """Makes plain linear layers of all that is adapted or in 4 bits; every quantised weight is dequantised once."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Adapted | NF4Linear):
            weight = module.merged() if isinstance(module, Adapted) else module.weight.dense(module.weight.dtype)
            out_features, in_features = weight.shape
            linear = nn.Linear(in_features, out_features, bias=module.bias is not None, device="meta")
            linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
            if module.bias is not None:
                linear.bias = module.bias
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, linear)


def set_enabled(model: nn.Module, enabled: bool) -> None:
    """Switches every adapter on or off (off: the base model, e.g. as a DPO reference)."""
    for _, layer in layers(model):
        layer.enabled = enabled
