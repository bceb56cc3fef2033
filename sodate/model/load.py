"""Loading: a folder of safetensors, with or without an adapter, becomes a model that runs over tries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from sodate.core import progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json
from sodate.core.text import tr
from sodate.library import checks, store, weights
from sodate.library.config import folder_config, for_older_readers
from sodate.model import attention, memory, scalar_head, stored_precision, stream, traits


def pick_device(wanted: str) -> torch.device:
    """`auto`: CUDA when there is one, else Apple's MPS, else the CPU."""
    if wanted != "auto":
        try:
            torch.empty(0, device=wanted)  # a device that torch knows and this machine has not fails here
            return torch.device(wanted)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            why = str(error).partition("\n")[0]
            raise UsageError(
                tr(f"device={wanted}: {why}", f"device={wanted}: {why}"),
                tr("Leave device out for the best there is.", "device を外すと、使えるものから選びます。"),
                code="bad_value",
                param="device",
            ) from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 on CUDA devices that have it, else float32. Training on a CPU tries both (train/speed.py)."""
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether the CPU names instructions for bfloat16 products (AVX512-BF16 or AMX); they may be slow all the same."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def load_base(
    folder: Path, *, device: torch.device, dtype: torch.dtype, kept: torch.dtype | None = None, quantised: bool = False
) -> Any:
    """The model in evaluation mode, attention over tries, nothing trainable yet changed. Never runs remote code.

    `kept`: what its weights are kept in, where that is narrower than `dtype`; `fused.replace_modules` has to follow.
    `quantised`: the linear layers of its blocks in 4 bits, made so one by one; the model is never held whole.
    """
    kept = kept or dtype
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    progress.report("load", 0, 1, folder.name)
    memory.remember_few_shapes()
    attention.register()
    logging.disable_progress_bar()
    try:
        if quantised:
            model = stream.load_quantised(folder, device, kept)
        elif stream.stored_dtype(folder) != kept:  # transformers would keep the file's pages until it has them all
            model = stream.load_converted(folder, kept)
        else:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                config=folder_config(folder),
                dtype=kept,
                attn_implementation="eager",
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (SodateError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each architecture has its own ways to fail
        raise SodateError(
            tr(f"The model in {folder} does not load: {error}", f"{folder} のモデルを読み込めません: {error}"),
            code="damaged",
            file=folder,
        ) from error
    model = model.to(device).eval()
    if kept != dtype:
        stored_precision.widen(model, folder, dtype)
    try:
        try:
            with stored_precision.widened(model, dtype):
                model.sodate_traits = traits.examine(model)
        except (RuntimeError, TypeError):  # a module that multiplies by the weight of another
            if kept == dtype:
                raise
            model.sodate_traits = traits.examine(model.to(dtype))
    except (SodateError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SodateError(
            tr(
                f"{type(model).__name__} does not run on two short rows, so it is not supported ({why}).",
                f"{type(model).__name__} は短い 2 行でも計算できないため、対応していません ({why})。",
            ),
            tr("Use another base model.", "別の基盤モデルを使ってください。"),
            code="model_unsupported",
        ) from error
    progress.report("load", 1, 1, folder.name)
    return model


def round_weights(model: Any, dtype: torch.dtype) -> None:
    """Gives every weight the value it has when it is kept in `dtype`. The precision of products stays."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).to(parameter.dtype)


def save_full(model: Any, source: Path, folder: Path, dtype: torch.dtype | None = None) -> None:
    """All weights, kept in `dtype` or as they are, with the base's other files, as transformers loads them.

    Those go along because the base's licence asks that its text does, whatever the file is called. The store's
    manifest stays behind: it names the base and its hashes.
    """
    aside = _tied(model) | {name for name in model.state_dict() if name.startswith(f"{scalar_head.NAME}.")}
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items() if name not in aside}
    weights.write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    others = [f for f in source.iterdir() if f.is_file() and ".safetensors" not in f.name and f.name != store.MANIFEST]
    checks.refuse_links(source, others)
    for file in others:
        shutil.copyfile(file, folder / file.name)
    # transformers reads weights in the precision that the configuration names.
    kept_in = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = for_older_readers(read_json(folder / "config.json") | {"dtype": kept_in})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _tied(model: Any) -> set[str]:
    """Names in the state dict whose tensor is already there under another name."""
    seen: dict[int, str] = {}
    tied = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            tied.add(name)
        seen.setdefault(tensor.data_ptr(), name)
    return tied
