"""Loading a model tensor by tensor into another precision, or its blocks' linear layers into 4 bits, as they come.

The files are read, not mapped into memory, so that peak memory is the model as it will be, and one tensor as it was.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sodate.adapt.lora import decoder_linears
from sodate.adapt.quantise import NF4Linear
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.library.checks import weight_files
from sodate.library.config import folder_config

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
WHOLE = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")  # no weights: a model makes its counters itself
PIECE = 4 << 20  # numbers of a tensor that are held in both precisions at once


class Stored:
    """A tensor in a safetensors file."""

    def __init__(self, file: Path, handle: BufferedReader, start: int, entry: dict[str, Any]) -> None:
        self.dtype, self.shape = DTYPES[entry["dtype"]], entry["shape"]
        self._file, self._handle = file, handle
        self._at = start + entry["data_offsets"][0]

    def read(self, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor, in another precision if one is given: that costs no more memory than the result."""
        self._handle.seek(self._at)
        out = torch.empty(self.shape, dtype=dtype or self.dtype)
        for piece in out.view(-1).split(PIECE) if out.numel() else ():
            raw = bytearray(piece.numel() * self.dtype.itemsize)
            if self._handle.readinto(raw) != len(raw):
                raise SodateError(
                    tr(f"{self._file} is truncated.", f"{self._file} が途中で切れています。"),
                    code="damaged",
                    file=self._file,
                )
            piece.copy_(torch.frombuffer(raw, dtype=self.dtype))
        return out


def tensors(file: Path) -> Iterator[tuple[str, Stored]]:
    """Name and tensor, in the file's order. Whole numbers are left out; SodateError on other than floating point."""
    with file.open("rb") as handle:
        start, header = _header(handle)
        for name, entry in header.items():
            if entry["dtype"] in DTYPES:
                yield name, Stored(file, handle, start, entry)
            elif entry["dtype"] not in WHOLE:
                raise SodateError(
                    tr(f"{file}: {name} is kept as {entry['dtype']}, which can't be converted.",
                       f"{file}: {name} の形式 {entry['dtype']} は変換できません。"),
                    tr("Use the model in bfloat16 or float32.", "bfloat16 か float32 のモデルを使ってください。"),
                    code="model_unsupported", file=file,
                )  # fmt: skip


def stored_dtype(folder: Path) -> torch.dtype:
    """The narrowest precision that holds every floating-point tensor of a model as its files do."""
    kinds: set[torch.dtype] = set()
    for file in weight_files(folder):
        with file.open("rb") as handle:
            kinds |= {DTYPES[entry["dtype"]] for entry in _header(handle)[1].values() if entry["dtype"] in DTYPES}
    return functools.reduce(torch.promote_types, kinds) if kinds else torch.float32


def _header(handle: BufferedReader) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and every tensor's dtype, shape and offsets in the order of the data."""
    size = int.from_bytes(handle.read(8), "little")
    entries: dict[str, Any] = json.loads(handle.read(size))
    entries.pop("__metadata__", None)
    return 8 + size, dict(sorted(entries.items(), key=lambda item: item[1]["data_offsets"]))


def load_converted(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder in another precision than it is kept in."""
    model = empty(folder, dtype)
    state = {name: tensor.read(dtype) for file in weight_files(folder) for name, tensor in tensors(file)}
    model, about = type(model).from_pretrained(
        None, config=model.config, state_dict=state, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    if absent := sorted(about["missing_keys"]):  # transformers would draw them at random
        raise SodateError(
            tr(f"{folder} has no tensor {absent[0]!r}.", f"{folder} にテンソル {absent[0]!r} がありません。"),
            tr("Fetch the model again, all of its files.", "モデルのファイルをすべて取り直してください。"),
            code="model_unsupported",
            file=folder,
        )
    return model


def empty(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder without data."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    config = folder_config(folder)
    with init_empty_weights():
        return AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="eager", trust_remote_code=False
        )


def load_quantised(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The model of a folder with NF4Linear in place of every linear layer of its blocks; all else in `dtype`.

    Raises SodateError when the files don't hold the model's tensors by their own names.
    """
    model = empty(folder, dtype)
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
                    setattr(model.get_submodule(owner), own, NF4Linear(tensor.read().to(device), bias, dtype))
                else:
                    value = nn.Parameter(tensor.read(dtype).to(device), requires_grad=False)
                    setattr(model.get_submodule(layer), leaf, value)
    model.tie_weights()
    if missing:
        raise SodateError(
            tr(
                f"{folder} has no tensor {sorted(missing)[0]!r}: 4 bits need the model's tensors by their own names.",
                f"{folder} にテンソル {sorted(missing)[0]!r} がありません。4 ビット化には標準の名前が必要です。",
            ),
            tr("Use adapter=lora.", "adapter=lora を使ってください。"),
            code="model_unsupported",
            file=folder,
        )
    return model.to(device)
