"""Frozen weights that stay in the precision of their file, under products in a wider one.

A model published in bfloat16 takes half the memory so. A narrower number is exactly one of the wider ones, so that
nothing changes but the order of some sums. products.py widens a weight block by block; an embedding widens the rows it
is asked for. Modules that know neither run inside `widened`, which the probes of traits.py and fused.py do.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sodate.model import stream


def precision(folder: Path, dtype: torch.dtype) -> torch.dtype:
    """What frozen weights of the model in a folder are kept in under products in `dtype`: that of its files, where that
    is narrower."""
    kept = stream.stored_dtype(folder)
    return kept if kept.itemsize < dtype.itemsize else dtype


def widen(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Gives a model loaded narrower the buffers that it has in `dtype`, and an embedding that returns rows in it."""
    _widen_buffers(model, folder, dtype)
    _widen_lookups(model.get_input_embeddings(), dtype)


def _widen_buffers(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """What a file doesn't hold was made narrow, and was rounded then: Gemma's scale of the embedding, say."""
    smaller = [name for name, b in model.named_buffers() if b.is_floating_point() and b.dtype.itemsize < dtype.itemsize]
    if not smaller:
        return
    in_file, plain = model.state_dict().keys(), stream.empty(folder, dtype)
    for name in smaller:
        buffer = model.get_buffer(name)
        buffer.data = (buffer if name in in_file else plain.get_buffer(name)).to(buffer.device, dtype)


def _widen_lookups(embedding: Any, dtype: torch.dtype) -> None:
    """Lets a frozen embedding return rows in `dtype`, scaled (Gemma) in that precision as well."""
    embedding.padding_idx = None  # concerns gradients alone, and fewer rows than that may be looked at
    plain = copy.copy(embedding)

    def forward(ids: Tensor) -> Tensor:
        rows = embedding.weight[ids.flatten()].to(dtype)
        places = torch.arange(ids.numel(), device=ids.device).view_as(ids)
        out: Tensor = functional_call(plain, {"weight": rows}, (places,))
        return out

    embedding.forward = forward


@contextlib.contextmanager
def widened(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Within, each module that is called has its own parameters in `dtype` while it runs, if they are narrower."""
    kept: dict[nn.Parameter, Tensor] = {}

    def widen(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.dtype.itemsize < dtype.itemsize:
                kept[parameter] = parameter.data
                parameter.data = parameter.data.to(dtype)

    def put_back(module: nn.Module, *_: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter in kept:
                parameter.data = kept.pop(parameter)

    embedding = model.get_input_embeddings()
    hooks = []
    for module in model.modules():
        if module is not embedding and next(module.parameters(recurse=False), None) is not None:
            hooks.append(module.register_forward_pre_hook(widen))
            hooks.append(module.register_forward_hook(put_back, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
