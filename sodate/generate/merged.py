"""Decoding with a model that is being trained: adapters folded into their weights for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sodate.model import adapters


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Inside the block every float32 layer multiplies by W + s·B·A at once; afterwards all is as before, bit for bit.

    It costs a copy of the adapted weights. Weights of less precision, or quantised, stay apart from their adapters: the
    sum, rounded to what they are kept in, would lose small updates. So do adapters that no weight can stand for.
    """
    apart: list[tuple[nn.Module, str, nn.Module]] = []
    for name, layer in list(adapters.layers(model)):
        sharp = isinstance(layer.weight, Tensor) and layer.weight.dtype == torch.float32
        if not sharp or not layer.enabled or not layer.merges:
            continue
        parent, _, leaf = name.rpartition(".")
        owner = model.get_submodule(parent)
        out_features, in_features = layer.weight.shape
        whole = nn.Linear(in_features, out_features, bias=layer.bias is not None, device="meta")
        whole.weight = nn.Parameter(layer.merged().detach(), requires_grad=False)
        if layer.bias is not None:
            whole.bias = layer.bias
        apart.append((owner, leaf, layer))
        setattr(owner, leaf, whole)
    try:
        yield
    finally:
        for owner, leaf, adapted in apart:
            setattr(owner, leaf, adapted)
