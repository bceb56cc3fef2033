"""Loading a model tensor by tensor into another precision, or its blocks' linear layers into 4 bits, as they come.

The files are read, not mapped into memory, so that peak memory is the model as it will be, and one tensor as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.model.checks import weight_files
from sodate.model.lora import decoder_linears
from sodate.model.quantise import NF4Linear

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor, in the file's order, each read when it is asked for. Other than floating point is left out."""
    with file.open("rb") as handle:
        start, header = _header(handle)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            if entry["dtype"] in DTYPES:
                handle.seek(start + begin)
                raw = bytearray(end - begin)
                if handle.readinto(raw) != len(raw):
                    raise SodateError(tr(f"{file} is truncated.", f"{file} が途中で切れています。"))
                yield name, _tensor(raw, DTYPES[entry["dtype"]]).view(entry["shape"])


def stored_dtype(folder: Path) -> torch.dtype:
    """The precision the first floating-point tensor of a model is kept in."""
    with weight_files(folder)[0].open("rb") as handle:
        return next(DTYPES[e["dtype"]] for e in _header(handle)[1].values() if e["dtype"] in DTYPES)


def _header(handle: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and every tensor's dtype, shape and offsets in the order of the data."""
    size = int.from_bytes(handle.read(8), "little")
    entries: dict[str, Any] = json.loads(handle.read(size))
    entries.pop("__metadata__", None)
    return 8 + size, dict(sorted(entries.items(), key=lambda item: item[1]["data_offsets"]))


def _tensor(raw: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)


def load_converted(folder: Path, dtype: torch.dtype, attention: str) -> Any:
    """The model of a folder in another precision than it is kept in."""
    model = _empty(folder, dtype, attention)
    state = {name: tensor.to(dtype) for file in weight_files(folder) for name, tensor in tensors(file)}
    return type(model).from_pretrained(
        None, config=model.config, state_dict=state, dtype=dtype, attn_implementation=attention
    )


def _empty(folder: Path, dtype: torch.dtype, attention: str) -> Any:
    """The model of a folder without data."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with init_empty_weights():
        return AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )


def load_quantised(folder: Path, device: torch.device, dtype: torch.dtype, attention: str) -> Any:
    """The model of a folder with NF4Linear in place of every linear layer of its blocks; all else in `dtype`.

    Raises SodateError when the files don't hold the model's tensors by their own names.
    """
    model = _empty(folder, dtype, attention)
    model.tie_weights()
    linears = set(decoder_linears(model))
    missing = {name for name, _ in model.named_parameters()}
    for file in weight_files(folder):
        for name, tensor in tensors(file):
            if name in missing:
                missing.discard(name)
                layer, _, leaf = name.rpartition(".")
                if layer in linears and leaf == "weight":
                    owner, _, own = layer.rpartition(".")
                    bias = model.get_submodule(layer).bias  # still without data, or read already
                    setattr(model.get_submodule(owner), own, NF4Linear(tensor.to(device), bias, dtype))
                else:
                    value = nn.Parameter(tensor.to(device, dtype), requires_grad=False)
                    setattr(model.get_submodule(layer), leaf, value)
            del tensor  # before the next one is read
    model.tie_weights()
    if missing:
        raise SodateError(
            tr(
                f"{folder} has no tensor {sorted(missing)[0]!r}: 4 bits need the model's tensors by their own names.",
                f"{folder} にテンソル {sorted(missing)[0]!r} がありません。4 ビット化には標準の名前が必要です。",
            ),
            tr("Use adapter=lora.", "adapter=lora を使ってください。"),
        )
    return model.to(device)
