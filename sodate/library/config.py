"""config.json: what a model folder says of its architecture, how much of that is believed, and what others read in it.

Only keys that the architecture's own configuration knows are read, and none that makes a library load something; its
numbers are bounded. So a file that lies costs a refusal, whatever it claims.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import math
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.paths import refusal
from sodate.core.text import en, ja, tr

MAX_JSON_BYTES = 16_000_000  # a tokenizer_config.json with every added token written out has 1 to 2 MB
MAX_DEPTH = 32
MAX_LAYERS = 2_000
MAX_NUMBER = 1 << 31
MAX_ENTRIES = 20_000  # numbers, texts and keys of a config.json; the longest are lists of a word per layer
MAX_TEXT = 2_000
PRECISIONS = ("float16", "bfloat16", "float32", "float64")
# Keys of every configuration that make a library load, import or allocate something. What is meant is given by us.
NEVER_READ = {
    *("attn_implementation", "experts_implementation", "quantization_config", "compression_config", "auto_map"),
    *("name_or_path", "trust_remote_code", "token", "revision", "code_revision", "transformers_weights", "use_kernels"),
    *("num_labels", "id2label", "label2id", "problem_type", "pruned_heads", "custom_pipelines", "transformers_version"),
    *("backbone", "backbone_config", "backbone_kwargs", "use_timm_backbone", "use_pretrained_backbone"),
    *("kernel_config", "distributed_config", "device_map", "tp_plan", "pp_plan", "dtype", "torch_dtype"),
    *("torchscript", "return_dict", "output_hidden_states", "output_attentions", "model_type", "per_layer_config"),
}  # fmt: skip

# transformers 5 keeps rotary settings in `rope_parameters`, by kind of layer where they differ; 4 reads these names.
GLOBAL_LAYERS, LOCAL_LAYERS = "full_attention", "sliding_attention"
# Architectures whose rotary settings go by another name at the top level in transformers 4.
OLDER_NAMES = {
    "gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "gpt_neox_japanese": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    "modernbert-decoder": {"rope_theta": "global_rope_theta", "rope_local_base_freq": "local_rope_theta"},
}


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises SodateError if this config.json asks for code, or names a model that does not write text left to right."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    refuse_remote_code(config, where)
    model_type, listed = config.get("model_type"), config.get("architectures") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise no_valid_model(where, TypeError("architectures is not a list of names"))
    named: list[str] = listed
    label = (named[0] if named else str(model_type))[:80]
    choose = tr(
        "Choose a decoder model that generates text, such as Llama, Qwen, Gemma or Mistral.",
        "Llama、Qwen、Gemma、Mistral など、文章を生成するデコーダー型モデルを選んでください。",
    )
    expected = CAUSAL.get(model_type) if isinstance(model_type, str) else None
    heads = {expected} if isinstance(expected, str) else set(expected or ())
    if not heads or config.get("is_encoder_decoder") or (named and not heads & set(named)):
        raise SodateError(
            tr(
                f"{where}: {label} has no causal language-model head, or is not known to this transformers version.",
                f"{where}: {label} は因果言語モデルの出力層を持たないか、この版の transformers では扱えません。",
            ),
            choose,
            code="model_unsupported",
        )
    if isinstance(config.get("text_config"), Mapping):
        raise SodateError(
            tr(
                f"{where}: {label} also reads images or sound. Only models of text alone are supported.",
                f"{where}: {label} は画像や音声も読むモデルです。対応しているのはテキスト専用のモデルだけです。",
            ),
            tr(
                "Take the family's text-only checkpoint (for Gemma 3: Gemma3ForCausalLM, such as gemma-3-1b-it).",
                "同系列のテキスト専用版を使ってください (Gemma 3 なら gemma-3-1b-it などの Gemma3ForCausalLM)。",
            ),
            code="model_unsupported",
        )
    if isinstance(config.get("quantization_config"), Mapping):
        kind = str(config["quantization_config"].get("quant_method"))[:40]
        raise SodateError(
            tr(
                f"{where}: its weights are quantised ({kind}), and only a library that the file names could read them.",
                f"{where}: 重みが量子化されており ({kind})、ファイルが指定するライブラリーでしか読めません。",
            ),
            tr(
                "Pull the model in bfloat16 or float32, or as GGUF.",
                "bfloat16 か float32 のモデル、または GGUF を取り込んでください。",
            ),
            code="model_unsupported",
        )
    layers = config.get("num_hidden_layers")
    if layers is not None and (type(layers) is not int or not 0 < layers <= MAX_LAYERS):
        raise SodateError(
            tr(f"{where}: num_hidden_layers is {layers!r}.", f"{where}: num_hidden_layers が {layers!r} です。"),
            choose,
            code="damaged",
        )


def refuse_remote_code(value: Any, where: str) -> None:
    """`auto_map` anywhere in a configuration means: import this Python file. It is never done here."""
    if any(isinstance(part, Mapping) and "auto_map" in part for _, part in walk(value)):
        raise SodateError(
            tr(
                f"{where} asks to run code that comes with the model (auto_map). That is never done here.",
                f"{where} はモデル付属のコードの実行 (auto_map) を求めています。ここでは決して実行しません。",
            ),
            tr(
                "Use a model whose architecture is built into transformers.",
                "transformers に組み込まれたアーキテクチャのモデルを使ってください。",
            ),
            code="remote_code",
            file=where,
        )


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object that came with a model. Raises SodateError on one too large, too deep, or not an object."""

    def unsound(en: str, ja: str) -> SodateError:
        return SodateError(tr(f"{path} {en}.", f"{path} {ja}"), code="damaged", file=path)

    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            raise unsound("is not a file", "がファイルではありません。")
        if path.stat().st_size > MAX_JSON_BYTES:
            limit = MAX_JSON_BYTES // 10**6
            raise unsound(f"is larger than {limit} MB", f"が {limit} MB を超えています。")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SodateError(tr(f"{path} is missing.", f"{path} がありません。"), file=path, code="file_missing") from None
    except OSError as error:
        why = refusal(error)
        raise unsound(f"cannot be read: {en(why)}", f"を読めません: {ja(why)}") from None
    except RecursionError:
        raise unsound("is nested too deeply", "の入れ子が深すぎます。") from None
    except ValueError as error:
        raise unsound(f"is damaged: {error}", f"が壊れています: {error}") from None
    if not isinstance(value, dict):
        raise unsound("is not an object", "がオブジェクトではありません。")
    if next((True for depth, _ in walk(value) if depth > MAX_DEPTH), False):
        raise unsound("is nested too deeply", "の入れ子が深すぎます。")
    return value


def walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Every value within a JSON value with its depth, keys included, itself first; no recursion."""
    open_ones = [(0, value)]
    while open_ones:
        depth, one = open_ones.pop()
        yield depth, one
        if isinstance(one, dict):
            open_ones += [(depth + 1, part) for pair in one.items() for part in pair]
        elif isinstance(one, list):
            open_ones += [(depth + 1, part) for part in one]


@functools.cache
def known_keys(model_type: str) -> frozenset[str]:
    """The keys that this architecture's configuration reads: its fields, their other names, and those it asks for."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    keys = {*kind.__dataclass_fields__, *kind.attribute_map, *kind.attribute_map.values()}
    with contextlib.suppress(Exception):  # what it works out and writes down is its own too
        keys |= set(kind().to_dict())
    for base in kind.__mro__:
        if base.__module__.startswith("transformers.models."):
            # Names from before a field was renamed are taken out of the keyword arguments.
            keys |= set(re.findall(r"kwargs\.(?:pop|get)\(\s*[\"'](\w+)[\"']", inspect.getsource(base)))
    older = {"rope_theta", "rope_scaling", "partial_rotary_factor", "rope_parameters", "tie_word_embeddings"}
    return frozenset(key for key in keys | older if key not in NEVER_READ and not key.startswith("_"))


def believed(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is read of a config.json: known keys, with values of bounded size. Raises SodateError naming the key.

    `where` names the file in that sentence. The architecture must be one that `check_config` lets pass.
    """
    known = known_keys(config["model_type"])
    kept = {key: _without_loading(value) for key, value in config.items() if key in known}
    entries = 0
    for key, value in kept.items():
        for depth, part in walk(value):
            entries += 1
            number = isinstance(part, int | float) and not isinstance(part, bool)
            if (
                (number and math.inf > abs(part) > MAX_NUMBER)
                or (isinstance(part, str) and len(part) > MAX_TEXT)
                or depth > MAX_DEPTH
                or entries > MAX_ENTRIES
            ):
                shown = json.dumps(value)[:40]
                raise SodateError(
                    tr(f"{where}: config.json says {key} = {shown}: too much.",
                       f"{where}: config.json の {key} = {shown} は大きすぎます。"),
                    _other_file(), code="damaged", param=key,
                )  # fmt: skip
    return kept


def _without_loading(value: Any) -> Any:
    """A value whose inner objects have no key that makes a library load something."""
    if isinstance(value, Mapping):
        return {key: _without_loading(inner) for key, inner in value.items() if key not in NEVER_READ}
    return [_without_loading(inner) for inner in value] if isinstance(value, list) else value


def _other_file() -> str:
    return tr("Download the model again and compare its hash.",
              "モデルをもう一度ダウンロードし、ハッシュ値を確かめてください。")  # fmt: skip


def model_config(config: Mapping[str, Any], where: str) -> Any:
    """transformers' configuration of what is believed of a config.json. Raises SodateError where that makes none."""
    from transformers import CONFIG_MAPPING

    # A copy: transformers writes into nested values.
    values = copy.deepcopy(believed(config, where))
    dtype = config.get("dtype") or config.get("torch_dtype")
    if dtype in PRECISIONS:
        values["dtype"] = dtype
    try:
        return CONFIG_MAPPING[config["model_type"]].from_dict(values)
    except Exception as error:  # whatever a poisoned value makes a constructor do
        raise no_valid_model(where, error) from error


def folder_config(folder: Path) -> Any:
    """transformers' configuration of the model in a folder."""
    config = read_config(folder / "config.json")
    check_config(config, str(folder / "config.json"))
    return model_config(config, str(folder))


def no_valid_model(where: str, error: BaseException) -> SodateError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return SodateError(
        tr(f"{where}: config.json describes no valid model ({why}).",
           f"{where}: config.json が正しくありません ({why})。"),
        code="damaged",
    )  # fmt: skip


def for_older_readers(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what transformers 4 looks for at the top level: `rope_theta`, `rope_scaling`, `torch_dtype`.

    Without them it takes the base 10,000 and no scaling, and says nothing. Version 5 reads the same as before: a key
    that would change that is left out.
    """
    older: dict[str, Any] = {}
    if config.get("dtype") is not None:
        older["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping) and rope:
        whole, local = rope.get(GLOBAL_LAYERS, rope), rope.get(LOCAL_LAYERS)
        if isinstance(whole, Mapping):
            older |= {key: whole[key] for key in ("rope_theta", "partial_rotary_factor") if key in whole}
            older["rope_scaling"] = _scaling(whole)
            if whole.get("rope_type") == "longrope" and "original_max_position_embeddings" in whole:
                older["original_max_position_embeddings"] = whole["original_max_position_embeddings"]
        if isinstance(local, Mapping) and "rope_theta" in local:
            older["rope_local_base_freq"] = local["rope_theta"]
    names = OLDER_NAMES.get(str(config.get("model_type")), {})
    older = {names.get(key, key): value for key, value in older.items()}
    both = {**config, **older}
    before, after = _as_read(config), _as_read(both)
    (after.get("rope_parameters") or {}).pop("type", None)  # the older word for rope_type, kept beside it
    unchanged = all(after.get(key) == value for key, value in before.items() if key != "torch_dtype")
    return both if unchanged else {**both, "rope_scaling": None}


def _scaling(rope: Mapping[str, Any]) -> dict[str, Any] | None:
    """The scaling alone, as transformers 4 has it; None where positions are not scaled."""
    if rope.get("rope_type", "default") == "default":
        return None
    if rope["rope_type"] == "longrope":  # Phi-3, which wants these three and no other
        return {"type": "longrope", **{key: rope[key] for key in ("short_factor", "long_factor")}}
    return {key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")}


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as the installed transformers understands it."""
    from transformers import AutoConfig

    values = copy.deepcopy({key: value for key, value in config.items() if key != "model_type"})
    read: dict[str, Any] = AutoConfig.for_model(config["model_type"], **values).to_dict()
    return read
