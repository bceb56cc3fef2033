"""The only module that writes weights: safetensors files, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sodate.core.errors import SodateError
from sodate.core.files import atomic_file
from sodate.core.text import tr

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, whole or not at all.

    Written here because the library makes the whole file in memory first: twice the weights, at the run's highest
    point. The format: the header's length in 8 bytes, the header in JSON, the tensors' bytes without gaps; wide
    types first, so that all are aligned (github.com/huggingface/safetensors, "Format").
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": _DTYPES[tensors[name].dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for tensor in (tensors[name].detach().cpu().contiguous() for name in order):
            if tensor.numel():
                handle.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file; SodateError when it is missing or damaged."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise SodateError(tr(f"{path} is missing.", f"{path} がありません。"), code="file_missing", file=path) from None
    except Exception as error:
        raise SodateError(
            tr(f"{path} is damaged: {error}.", f"{path} が壊れています: {error}"), code="damaged", file=path
        ) from None
