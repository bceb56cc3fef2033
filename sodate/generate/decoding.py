"""A model's blocks as they decode: adapters folded into their weights, layers that read the same input stacked into one
product (frozen.py), and steps of few rows compiled (block.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sodate.adapt.adapters import Adapted
from sodate.generate import block, decoder_step
from sodate.generate.frozen import FrozenAttention, FrozenLinear, FrozenMLP
from sodate.kernels import machine, packed, rows
from sodate.model import memory
from sodate.model.fused import Attention, GatedMLP


def _folds(layer: nn.Module) -> bool:
    """Whether one weight stands for the layer. One of less precision than float32, or quantised, stays apart from its
    adapter: the sum, rounded to what it is kept in, would lose small updates."""
    if not isinstance(layer, Adapted):
        return type(layer) is nn.Linear
    return layer.enabled and layer.merges and isinstance(layer.weight, Tensor) and layer.weight.dtype == torch.float32


def _frozen(module: nn.Module) -> nn.Module | None:
    """What stands for the module in decoding, where something does."""
    if isinstance(module, Attention):
        heads = (module.q_proj, module.k_proj, module.v_proj, module.o_proj)
        return FrozenAttention(module) if all(map(_folds, heads)) else None
    if isinstance(module, GatedMLP):
        layers = (module.gate_proj, module.up_proj, module.down_proj)
        return FrozenMLP(module) if all(map(_folds, layers)) else None
    return FrozenLinear((module,)) if _folds(module) else None


def _replace(model: Any) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Puts the decoder's parts in their decoding form, one by one; yields where each stood, and the part itself."""
    inside: tuple[str, ...] = ()
    # By name: a list of the modules would keep every replaced weight until the last one is replaced.
    for name in [name for name, _ in model.get_decoder().named_modules()]:
        if name.startswith(inside):
            continue
        parent, _, leaf = name.rpartition(".")
        owner = model.get_decoder().get_submodule(parent)
        module = owner.get_submodule(leaf)
        frozen = _frozen(module)
        if frozen is not None:
            setattr(owner, leaf, frozen)
            inside = (f"{name}.",)
            yield owner, leaf, module


def packs(model: Any) -> bool:
    """Whether the decoder's weights were published in few bits, judged by the first of its linear layers."""
    linear = next((one for one in model.get_decoder().modules() if type(one) is nn.Linear), None)
    return linear is not None and packed.pack(linear.weight.detach()[: packed.GLANCE]) is not None


@torch.no_grad()
def freeze(model: Any) -> machine.DecodingChoice:
    """Makes the decoder ready for decoding, by what is fast here; it can't be trained afterwards."""
    for _ in _replace(model):
        pass
    layers: list[Any] = [module for module in model.get_decoder().modules() if isinstance(module, FrozenLinear)]
    layers.append(model.get_output_embeddings())
    for layer in layers:
        layer.weight.packed = packed.pack(layer.weight)  # None, where it has other numbers
    left = [layer.weight for layer in layers if layer.weight.packed is None]
    if sum(weight.nbytes for weight in left) // 2 < memory.available(model.device) // 4:
        for weight in left:  # a copy beside the weight, which more rows than a few are faster with
            weight.bfloat16_bits = packed.narrowed(weight)
    for module in model.get_decoder().modules():
        block.speed_up(module)
    model.sodate_step = decoder_step.of(model)
    choice = machine.try_decoding(model.get_output_embeddings().weight)
    rows.leave_to_torch(choice.slower)
    return choice


@contextmanager
def frozen(model: Any) -> Iterator[None]:
    """Decoding with a model that is being trained: afterwards all is as before, bit for bit. It costs a copy of the
    weights."""
    with torch.no_grad():
        stood = list(_replace(model))
    undo = [block.speed_up(module) for module in model.get_decoder().modules()]
    model.sodate_step = decoder_step.of(model)
    try:
        yield
    finally:
        model.sodate_step = None
        for slow_down in filter(None, undo):
            slow_down()
        for owner, leaf, module in stood:
            setattr(owner, leaf, module)
