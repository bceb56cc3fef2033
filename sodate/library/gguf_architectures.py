"""What llama.cpp wants to know of each architecture: its name there, its numbers, and which tensors it has in another
form. Read from llama.cpp's own conversion and loader; every entry is held to the same answers by tests/library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """`rotates_pairs`: it turns neighbouring numbers of q and k where transformers turns the two halves of a head.
    `norm_plus_one`: transformers multiplies by 1 + w, llama.cpp by w. `numbers` are its keys beside everybody's."""

    name: str
    rotates_pairs: bool = False
    norm_plus_one: bool = False
    numbers: Mapping[str, str] | None = None  # key in the file: key of config.json


_SOFT = {"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"}
_WINDOW = {"attention.sliding_window": "sliding_window"}
ARCHITECTURES = {
    "llama": Architecture("llama", rotates_pairs=True),
    "mistral": Architecture("llama", rotates_pairs=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "gemma": Architecture("gemma", norm_plus_one=True),
    "gemma2": Architecture("gemma2", norm_plus_one=True, numbers=_SOFT | _WINDOW),
    "gemma3_text": Architecture("gemma3", norm_plus_one=True, numbers=_SOFT | _WINDOW),
}


# Of so many layers llama.cpp takes the last for one that sees everything, and the others for ones that see a window.
# Models of the other families have no such layers there.
WHOLE_LAYERS = {"gemma2": 2, "gemma3_text": 6}


def architecture(config: Mapping[str, Any]) -> Architecture:
    """How llama.cpp names and runs this model; raises SodateError for one that is not known here."""
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise _not_as_gguf(tr(f"{kind} models", f"{kind} モデル"))
    if config.get("rope_parameters", {}).get("rope_type", "default") not in ("default", "linear", "llama3"):
        raise _not_as_gguf(tr("models whose positions are scaled this way", "位置をこの方法で拡大するモデル"))
    if kind in ("llama", "mistral", "qwen2", "qwen3") and config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise _not_as_gguf(tr(f"{kind} models with another activation", f"活性化関数が異なる {kind} モデル"))
    layers = ["sliding" in layer for layer in config.get("layer_types") or ()]
    every = WHOLE_LAYERS.get(kind)
    there = [bool((i + 1) % every) if every else False for i in range(len(layers))]
    if (any(layers) and layers != there) or (kind == "mistral" and config.get("sliding_window")):
        raise _not_as_gguf(tr(f"{kind} models with such windows", f"このような窓を持つ {kind} モデル"))
    return ARCHITECTURES[kind]


def _not_as_gguf(what: str) -> SodateError:
    return SodateError(
        tr(f"{en(what)} can't be written as GGUF here.", f"{ja(what)}は GGUF として書き出せません。"),
        tr("Export it for transformers (--to merged); llama.cpp's own converter may know such a folder.",
           "transformers 用に書き出してください (--to merged)。llama.cpp の変換ツールなら扱えることがあります。"),
        code="export_unsupported", param="to",
    )  # fmt: skip


def head_size(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def numbers(config: Mapping[str, Any]) -> dict[str, int | float | str]:
    """The model's own metadata by key, without the architecture's name in front."""
    rope = _rope(config)
    heads = int(config["num_attention_heads"])
    found: dict[str, int | float | str] = {
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "block_count": int(config["num_hidden_layers"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "attention.head_count": heads,
        "attention.head_count_kv": int(config.get("num_key_value_heads") or heads),
        "attention.key_length": head_size(config),
        "attention.value_length": head_size(config),
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.dimension_count": head_size(config),
        "rope.freq_base": float(rope.get("rope_theta", 10_000.0)),
        "vocab_size": int(config["vocab_size"]),
    }
    if rope.get("rope_type") == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    for key, name in (architecture(config).numbers or {}).items():
        if (value := config.get(name)) is not None:
            found[key] = int(value) if isinstance(value, int) else float(value)
    local = config.get("rope_parameters", {}).get("sliding_attention", {}).get("rope_theta")
    return found | ({"rope.freq_base_swa": float(local)} if local is not None else {})


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary settings, those of the global layers where kinds of layers differ."""
    rope: Mapping[str, Any] = config.get("rope_parameters") or config
    return rope.get("full_attention", rope)  # type: ignore[no-any-return]


def rope_factors(config: Mapping[str, Any]) -> Array | None:
    """(head / 2,) by which Llama 3 slows its lower frequencies ("llama3" scaling); None for a model without them."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    base, size = float(rope["rope_theta"]), head_size(config)
    low, high, factor = (float(rope[key]) for key in ("low_freq_factor", "high_freq_factor", "factor"))
    turns = rope["original_max_position_embeddings"] / (2 * np.pi * base ** (np.arange(0, size, 2) / size))
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    factors: Array = 1 / ((1 - smooth) / factor + smooth)
    return factors.astype(np.float32)


def in_its_form(name: str, array: Array, config: Mapping[str, Any]) -> Array:
    """The tensor called `name` in transformers as llama.cpp keeps it; of an adapter, its B (out, r)."""
    known = architecture(config)
    heads = int(config["num_attention_heads"])
    if known.rotates_pairs and name.endswith(("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")):
        count = heads if ".q_proj." in name else int(config.get("num_key_value_heads") or heads)
        halves = array.reshape(count, 2, array.shape[0] // count // 2, *array.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
    return array + 1 if known.norm_plus_one and name.endswith("norm.weight") else array
