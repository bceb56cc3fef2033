"""GGUF files for llama.cpp: a whole model with its tokenizer and template, or a LoRA adapter.

The format's bytes and the quantisation are the `gguf` package's; which tensor is called what and kept how is said here
and in `gguf_architectures`. One tensor at a time is converted and written. A file appears whole or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from torch import Tensor

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file, read_json
from sodate.core.text import en, ja, tr
from sodate.library import weights
from sodate.library.gguf_architectures import Array, architecture, in_its_form, numbers, rope_factors
from sodate.library.gguf_tokenizer import tokenizer_metadata
from sodate.library.numbered_gguf import numbered

Kind = gguf.GGMLQuantizationType
FORMATS = {
    "f32": (Kind.F32, 0), "f16": (Kind.F16, 1), "bf16": (Kind.BF16, 32), "q8_0": (Kind.Q8_0, 7), "q5_1": (Kind.Q5_1, 9),
    "q5_0": (Kind.Q5_0, 8), "q4_1": (Kind.Q4_1, 3), "q4_0": (Kind.Q4_0, 2),
}  # fmt: skip
"""A format's type of numbers, and how the file names it (llama.cpp's llama_ftype)."""

# What llama.cpp's own quantiser writes instead of a K type where a row is no multiple of 256.
INSTEAD_OF_K = {"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}

Planned = tuple[str, tuple[int, ...], Any, Callable[[], Array]]
"""A tensor to be written: name, shape, type, and what makes its numbers in float32."""


def checked_format(name: str, hidden: int) -> None:
    """Raises UsageError for a format that is not written here; for K types it says what they would come to."""
    if name in FORMATS:
        return
    base = name.lower()[:4]
    if base in INSTEAD_OF_K:
        instead = INSTEAD_OF_K[base]
        said = tr(
            "K types are made by llama.cpp's own quantiser alone.",
            "K 型を作れるのは llama.cpp の量子化ツールだけです。",
        )
        if hidden % 256:
            said = tr(f"K types have blocks of 256 numbers, and this model's rows have {hidden}: llama.cpp itself "
                      f"would write {instead} instead.",
                      f"K 型は 256 個ずつのブロックですが、このモデルの行は {hidden} 個です。"
                      f"llama.cpp でも代わりに {instead} が書かれます。")  # fmt: skip
        raise UsageError(
            tr(f"--format {name}: {en(said)}", f"--format {name}: {ja(said)}"),
            tr(f"Use --format {instead}, or export f16 and run llama-quantize over it.",
               f"--format {instead} を使うか、f16 で書き出して llama-quantize にかけてください。"),
            code="bad_value", param="format",
        )  # fmt: skip
    raise UsageError(
        tr(f"There is no format {name!r} of GGUF here.", f"GGUF の形式 {name!r} はありません。"),
        tr(f"There are {', '.join(FORMATS)}.", f"使えるもの: {', '.join(FORMATS)}"),
        code="bad_value",
        param="format",
    )


def write_model(
    tensors: Mapping[str, Tensor], folder: Path, target: Path, *, format: str, template: str | None,
    stops: Sequence[int] = (), about: Mapping[str, str] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Writes the model whose weights are `tensors` (by transformers' names) as one GGUF file at `target`.

    `folder` has config.json and tokenizer of the model; `template` is the chat template, `stops` the ids that end a
    reply. Without a template the vocabulary is numbered, for an engine that is given ids (numbered_gguf.py). `about`
    goes into `general.…` (name, license). Returns what is kept in another type than asked for, by name:
    matrices whose rows don't divide into blocks, and in 4 and 5 bits the embedding and the head, which stay q8_0.
    """
    config = read_json(folder / "config.json")
    checked_format(format, config["hidden_size"])
    kept, number = FORMATS[format]
    known = architecture(config)
    names = gguf.get_tensor_name_map(_arch(known.name), config["num_hidden_layers"])
    planned: list[Planned] = []
    others: dict[str, str] = {}
    tied = bool(config.get("tie_word_embeddings")) or "lm_head.weight" not in tensors
    for name, tensor in tensors.items():
        if (name == "lm_head.weight" and tied) or name.endswith("rotary_emb.inv_freq"):
            continue
        there = _named(names, name)
        kind = _kept(there, tuple(tensor.shape), kept)
        if kind != kept and tensor.dim() > 1:
            others[there] = kind.name.lower()
        planned.append((there, tuple(tensor.shape), kind, _made(name, tensor, config)))
    if (factors := rope_factors(config)) is not None:
        planned.append(("rope_freqs.weight", factors.shape, Kind.F32, lambda: factors))
    writer = gguf.GGUFWriter(None, known.name)
    writer.add_type("model")
    for key, text in (about or {}).items():
        writer.add_string(f"general.{key}", text)
    writer.add_file_type(number)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in numbers(config).items():
        _add(writer, f"{known.name}.{key}", value)
    rows = next(shape[0] for there, shape, _, _ in planned if there == "token_embd.weight")
    speech = numbered(rows) if template is None else tokenizer_metadata(folder, rows, template, stops)
    for key, value in speech.items():
        _add(writer, f"tokenizer.{key}", value)
    _write(writer, planned, target)
    return others


def checked_lora(adapter: Path, format: str) -> dict[str, Any]:
    """The adapter_config.json in a PEFT folder; raises SodateError where no LoRA GGUF can say the same."""
    about = read_json(adapter / "adapter_config.json")
    if about.get("peft_type") != "LORA" or about.get("use_dora"):
        raise SodateError(
            tr("Only LoRA and rsLoRA adapters can be written as a LoRA GGUF; llama.cpp has no place for others.",
               "LoRA GGUF として書けるのは LoRA と rsLoRA だけです。llama.cpp はほかのアダプターを扱えません。"),
            tr("Merge it into the weights: --to gguf.", "重みに統合してください: --to gguf"),
            code="export_unsupported", param="to",
        )  # fmt: skip
    if format not in ("f32", "f16", "bf16"):
        raise UsageError(
            tr(f"A LoRA GGUF is not written in {format}.", f"LoRA GGUF は {format} では書けません。"),
            tr(
                "Use f32, f16 or bf16: an adapter is small.",
                "f32、f16、bf16 を使ってください。アダプターは小さいものです。",
            ),
            code="bad_value",
            param="format",
        )
    return about  # type: ignore[no-any-return]


def write_lora(adapter: Path, config: Mapping[str, Any], target: Path, *, format: str = "f32") -> None:
    """Writes the LoRA adapter in a PEFT folder as GGUF, for a base whose config.json is `config`.

    llama.cpp multiplies by alpha / rank and knows nothing else: rsLoRA's alpha is written √r times as large, DoRA is
    refused. q and k of Llama and Mistral have their rows in another order there, so lora_b has, too.
    """
    about = checked_lora(adapter, format)
    known = architecture(config)
    names = gguf.get_tensor_name_map(_arch(known.name), config["num_hidden_layers"])
    planned: list[Planned] = []
    for name, tensor in weights.read_tensors(adapter / "adapter_model.safetensors").items():
        layer, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        there = f"{_named(names, f'{layer}.weight')}.lora_{part[0].lower()}"
        own = f"{layer}.weight" if part.startswith("B") else ""  # A stands on the side of the input
        planned.append((there, tuple(tensor.shape), FORMATS[format][0], _made(own, tensor, config)))
    scale = math.sqrt(about["r"]) if about.get("use_rslora") else 1.0
    writer = gguf.GGUFWriter(None, known.name)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(about["lora_alpha"]) * scale)
    writer.add_file_type(FORMATS[format][1])
    _write(writer, planned, target)


def _arch(name: str) -> Any:
    return next(arch for arch, text in gguf.MODEL_ARCH_NAMES.items() if text == name)


def _named(names: Any, name: str) -> str:
    found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise SodateError(
            tr(f"llama.cpp has no name for the tensor {name}.",
               f"llama.cpp にはテンソル {name} に当たる名前がありません。"),
            tr("Export it for transformers: --to merged.", "transformers 用に書き出してください: --to merged"),
            code="export_unsupported", param="to",
        )  # fmt: skip
    return found


def _kept(name: str, shape: tuple[int, ...], wanted: Any) -> Any:
    """The type a tensor is kept in: vectors stay float32, as llama.cpp adds and multiplies by nothing else."""
    if len(shape) < 2:
        return Kind.F32
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    if shape[-1] % block:
        return Kind.F16
    few = wanted not in (Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0)
    return Kind.Q8_0 if few and name in ("token_embd.weight", "output.weight") else wanted


def _made(name: str, tensor: Tensor, config: Mapping[str, Any]) -> Callable[[], Array]:
    return lambda: in_its_form(name, tensor.detach().cpu().float().contiguous().numpy(), config)


def _add(writer: Any, key: str, value: Any) -> None:
    """A metadata entry in the type that llama.cpp reads it in."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, value)


def _write(writer: Any, planned: Sequence[Planned], target: Path) -> None:
    for name, shape, kind, _ in planned:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        held = shape if kind in (Kind.F32, Kind.F16) else (*shape[:-1], shape[-1] // block * size)
        dtype = {Kind.F32: np.float32, Kind.F16: np.float16}.get(kind, np.uint8)
        writer.add_tensor_info(name, held, np.dtype(dtype), math.prod(shape) // block * size, raw_dtype=kind)
    with atomic_file(target) as handle:
        writer.write_header_to_file(Path(handle.name))  # the library opens it by its name
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, _, kind, made in planned:
            writer.write_tensor_data(gguf.quantize(made(), kind))
        writer.close()
