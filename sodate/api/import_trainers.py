"""`sodate import llama-factory` and `import axolotl`: their YAML and data sets as recipes and data of ours.

Every key that has no counterpart is named, with its value; nothing is dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sodate.api.import_rows import alpaca, axolotl, sharegpt
from sodate.api.imported import Imported, begin
from sodate.core import json_faults
from sodate.core.errors import SodateError
from sodate.core.paths import is_file
from sodate.core.recipe import METHODS
from sodate.core.text import tr
from sodate.core.yaml_files import yaml_value

Row = Mapping[str, Any]
_STAGES = {"sft": "sft", "pt": "sft", "dpo": "dpo", "rm": "reward", "kto": "kto", "ppo": "ppo"}
_LOSSES = {"sigmoid": ("dpo", "sigmoid"), "ipo": ("dpo", "ipo"), "hinge": ("dpo", "hinge"), "orpo": ("orpo", None),
           "simpo": ("simpo", None)}  # fmt: skip
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant"}
# Keys that mean the same here, by another name.
_LLAMA_FACTORY = {"learning_rate": "lr", "num_train_epochs": "epochs", "cutoff_len": "max_length",
                  "lora_rank": "lora_rank", "lora_alpha": "lora_alpha", "max_steps": "max_steps",
                  "warmup_steps": "warmup_steps",
                  "weight_decay": "weight_decay", "max_grad_norm": "max_grad_norm", "seed": "seed", "pref_beta": "beta",
                  "simpo_gamma": "gamma"}  # fmt: skip
_AXOLOTL = {"learning_rate": "lr", "num_epochs": "epochs", "sequence_len": "max_length", "lora_r": "lora_rank",
            "lora_alpha": "lora_alpha", "max_steps": "max_steps", "warmup_steps": "warmup_steps",
            "weight_decay": "weight_decay", "max_grad_norm": "max_grad_norm", "seed": "seed", "rl_beta": "beta",
            "dpo_beta": "beta"}  # fmt: skip
# Keys that only say where to write, or what happens here anyway.
_QUIET = frozenset((
    "do_train", "do_eval", "do_predict", "output_dir", "overwrite_output_dir", "overwrite_cache", "logging_steps",
    "save_steps", "plot_loss", "report_to", "preprocessing_num_workers", "dataloader_num_workers", "save_strategy",
    "ddp_timeout", "dataset_dir", "dataset_prepared_path", "logging_dir", "strict", "val_set_size", "saves_per_epoch",
    "evals_per_epoch", "eval_steps", "eval_strategy", "sample_packing", "pad_to_sequence_len", "eval_sample_packing",
    "group_by_length", "save_safetensors", "packing", "wandb_mode", "wandb_project", "wandb_entity", "wandb_watch",
    "wandb_name", "wandb_log_model", "train_on_inputs", "tf32", "xformers_attention", "flash_attention", "flash_attn",
    "load_in_8bit", "model_type", "tokenizer_type", "special_tokens",
))  # fmt: skip
_SAID = frozenset(("val_set_size", "load_in_8bit", "special_tokens", "train_on_inputs", "model_type", "tokenizer_type"))


# ── LLaMA-Factory ────────────────────────────────────────────────────────────────────────────────────────────────────


def import_llama_factory(path: Path, out: Path | None = None) -> Imported:
    """A training YAML with the data sets it names, or all of a folder with dataset_info.json."""
    made = begin("llama-factory", path, out)
    folder = path if path.is_dir() else path.parent
    documents = _documents(path, made)
    configs = {name: one for name, one in documents.items() if "stage" in one or "model_name_or_path" in one}
    for name in documents:
        if name not in configs:
            made.leave(name, tr("It is not a training configuration.", "学習の設定ではありません。"))
    infos = _infos(folder, [str(one.get("dataset_dir") or "data") for one in configs.values()], made)
    wanted = {part.strip() for one in configs.values() for key in ("dataset", "eval_dataset")
              for part in str(one.get(key) or "").split(",") if part.strip()}  # fmt: skip
    written: dict[str, str] = {}
    for name, (base, info) in infos.items():
        if path.is_dir() or name in wanted:
            _data_set(made, name, base, info, written)
    for name in sorted(wanted - set(infos)):
        made.leave(f"dataset {name}", tr("It is not in dataset_info.json.", "dataset_info.json にありません。"))
    for name, one in configs.items():
        _llama_factory_recipe(made, name, one, written)
    made.note()
    return made


def _documents(path: Path, made: Imported) -> dict[str, dict[str, Any]]:
    """YAML and JSON mappings of a file or folder, but for dataset_info.json, by name."""
    files = [path] if path.is_file() else sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if file.is_symlink() or file.name == "dataset_info.json":
            continue
        try:
            text = file.read_text("utf-8-sig")
            value = yaml_value(text)
        except (yaml.YAMLError, ValueError, OSError) as error:
            made.leave(file.name, tr(f"It can't be read as YAML: {error}", f"YAML として読めません: {error}"))
            continue
        if isinstance(value, dict):
            found[file.relative_to(path).as_posix() if path.is_dir() else file.name] = value
        else:
            made.leave(file.name, tr("It is not a mapping of keys to values.", "キーと値の対応ではありません。"))
    return found


def _infos(folder: Path, places: list[str], made: Imported) -> dict[str, tuple[Path, Row]]:
    found: dict[str, tuple[Path, Row]] = {}
    for place in dict.fromkeys([".", *places, "../data"]):
        base = folder / place
        info = base / "dataset_info.json"
        if not is_file(info):
            continue
        try:
            value = json.loads(info.read_text("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            made.leave(info.name, json_faults.unread(error))
            continue
        for name, one in value.items() if isinstance(value, dict) else ():
            if isinstance(one, dict):
                found.setdefault(str(name), (base, one))
    return found


def _data_set(made: Imported, name: str, base: Path, info: Row, written: dict[str, str]) -> None:
    place = f"dataset_info.json {name}"
    file = info.get("file_name")
    if not isinstance(file, str):
        source = next((f"{key} {info[key]}" for key in ("hf_hub_url", "ms_hub_url", "script_url", "cloud_file_name")
                       if key in info), "?")  # fmt: skip
        made.leave(place, tr(f"It is fetched from elsewhere ({source}); save it as a file.",
                             f"外部から取得するデータです ({source})。ファイルに保存してください。"))  # fmt: skip
        return
    columns, tags = (dict(given) if isinstance(given := info.get(key), dict) else {} for key in ("columns", "tags"))
    for media in ("images", "videos", "audios"):
        if media in columns:
            made.leave(f"{place} {media}", tr("Only text is trained here.", "学習できるのはテキストだけです。"))
    path = base / file
    if not is_file(path) or not path.resolve().is_relative_to(base.resolve().parent):
        made.leave(place, tr(f"{file} is not there.", f"{file} がありません。"))
        return
    read = sharegpt if info.get("formatting") == "sharegpt" else alpaca
    _convert(made, name, path, place, lambda row: read(row, columns, tags, bool(info.get("ranking"))), written)


def _convert(
    made: Imported, name: str, path: Path, place: str, read: Callable[[Row], dict[str, Any] | None],
    written: dict[str, str],
) -> None:  # fmt: skip
    """A data file as ours, rows that can't be read left by number."""
    rows: list[dict[str, Any]] = []
    try:
        for number, row in enumerate(_rows(path), 1):
            try:
                made_row = read(row)
            except (TypeError, ValueError, KeyError, AttributeError):
                made_row = None
            if made_row is None:
                made.leave(
                    f"{path.name}:{number}", tr(f"The row of {name} can't be read.", f"{name} の行を読めません。")
                )
            else:
                rows.append(made_row)
    except (SodateError, ValueError, RecursionError) as error:
        made.leave(place, tr(f"{path.name} can't be read: {error}", f"{path.name} を読めません: {error}"))
        return
    if rows:
        written[name] = made.rows("dataset", name, rows, place).name


def _rows(path: Path) -> Iterator[Row]:
    from sodate.data.read import RawRow, read_rows

    for row in read_rows(path):
        if isinstance(row, RawRow):
            yield row.data
        elif row.severity != "warning":
            yield {}


def _llama_factory_recipe(made: Imported, place: str, config: Row, written: Mapping[str, str]) -> None:
    keys: dict[str, Any] = {"method": _STAGES.get(str(config.get("stage", "sft")), "sft")}
    used = {"stage", "dataset", "eval_dataset", "model_name_or_path", "finetuning_type", "template"}
    if config.get("stage") not in (None, *_STAGES):
        made.unmatched(place, "stage", config["stage"])
    if "pref_loss" in config and keys["method"] == "dpo":
        used.add("pref_loss")
        method, loss = _LOSSES.get(str(config["pref_loss"]), ("dpo", None))
        keys["method"] = method
        keys |= {"loss": loss} if loss else {}
        if str(config["pref_loss"]) not in _LOSSES:
            made.unmatched(place, "pref_loss", config["pref_loss"])
    if config.get("model_name_or_path"):
        keys["model"] = config["model_name_or_path"]
    kind = str(config.get("finetuning_type", "lora"))
    four = config.get("quantization_bit") in (4, "4")
    adapters = {"lora": "lora", "full": "full", "freeze": "last"}
    keys["adapter"] = "qlora" if four and kind == "lora" else adapters.get(kind, "lora")
    for flag, adapter in (("use_dora", "dora"), ("use_rslora", "rslora")):
        used.add(flag)
        if config.get(flag) is True:
            keys["adapter"] = adapter
    used |= {"quantization_bit"} if four or config.get("quantization_bit") is None else set()
    if config.get("freeze_trainable_layers"):
        keys["last_layers"] = config["freeze_trainable_layers"]
        used.add("freeze_trainable_layers")
    if config.get("template"):
        made.unmatched(place, "template", config["template"])
    for theirs, ours in (("dataset", "data"), ("eval_dataset", "eval")):
        names = [part.strip() for part in str(config.get(theirs) or "").split(",") if part.strip() in written]
        if names:
            paths = [f"../datasets/{written[name]}" for name in names]
            keys[ours] = paths if ours == "data" else paths[0]
    _common(made, place, config, keys, _LLAMA_FACTORY, used, ("per_device_train_batch_size", "lora_target"))
    made.recipe(Path(place).stem, keys, place)


# ── Axolotl ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def import_axolotl(path: Path, out: Path | None = None) -> Imported:
    """An Axolotl YAML (or a folder of them) with the local data sets it names."""
    made = begin("axolotl", path, out)
    folder = path if path.is_dir() else path.parent
    for place, config in _documents(path, made).items():
        if "base_model" in config or "datasets" in config:
            _axolotl_recipe(made, place, config, folder)
        else:
            made.leave(place, tr("It is not a training configuration.", "学習の設定ではありません。"))
    made.note()
    return made


def _axolotl_recipe(made: Imported, place: str, config: Row, folder: Path) -> None:
    rl, adapter = (str(given) if (given := config.get(key)) is not None else None for key in ("rl", "adapter"))
    method = {None: "sft", "dpo": "dpo", "ipo": "dpo", "kto": "kto", "orpo": "orpo", "simpo": "simpo", "grpo": "grpo"}
    keys: dict[str, Any] = {"method": "reward" if config.get("reward_model") is True else method.get(rl, "sft")}
    used = {"rl", "reward_model", "base_model", "datasets", "test_datasets", "adapter", "load_in_4bit", "chat_template"}
    if rl == "ipo":
        keys["loss"] = "ipo"
    if rl is not None and rl not in method:
        made.unmatched(place, "rl", config["rl"])
    if config.get("base_model"):
        keys["model"] = config["base_model"]
    keys["adapter"] = {"lora": "lora", "qlora": "qlora", None: "full"}.get(adapter, "lora")
    for flag, name in (("peft_use_dora", "dora"), ("peft_use_rslora", "rslora")):
        used.add(flag)
        if config.get(flag) is True:
            keys["adapter"] = name
    if config.get("chat_template"):
        made.unmatched(place, "chat_template", config["chat_template"])
    for theirs, ours in (("datasets", "data"), ("test_datasets", "eval")):
        paths = [f"../datasets/{name}" for name in _axolotl_data(made, place, theirs, config.get(theirs), folder)]
        if paths:
            keys[ours] = paths if ours == "data" else paths[0]
    _common(made, place, config, keys, _AXOLOTL, used, ("micro_batch_size", "lora_target_modules"))
    made.recipe(Path(place).stem, keys, place)


def _axolotl_data(made: Imported, place: str, key: str, given: Any, folder: Path) -> list[str]:
    names: list[str] = []
    for number, one in enumerate(given if isinstance(given, list) else ()):
        where = f"{place} {key}[{number}]"
        if not isinstance(one, dict) or not isinstance(one.get("path"), str):
            made.leave(where, tr("It names no path.", "path がありません。"))
            continue
        files = one.get("data_files")
        files = [files] if isinstance(files, str) else files if isinstance(files, list) else [one["path"]]
        for file in files:
            path = folder / str(file)
            if not is_file(path) or not path.resolve().is_relative_to(folder.resolve()):
                made.leave(where, tr(f"{file} is not a file beside the YAML; save it as one.",
                                     f"{file} は YAML のそばにあるファイルではありません。"))  # fmt: skip
                continue
            written: dict[str, str] = {}
            _convert(made, path.stem, path, where, lambda row, one=one: axolotl(row, one), written)  # type: ignore[misc]
            names += written.values()
        for name in sorted(set(one) - {"path", "type", "ds_type", "data_files", "split", "field_messages",
                                       "message_property_mappings", "message_field_role", "message_field_content",
                                       "field", "roles", "conversation"}, key=str):  # fmt: skip
            made.unmatched(where, name, one[name])
    return names


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _common(
    made: Imported, place: str, config: Row, keys: dict[str, Any], same: Mapping[str, str], used: set[str],
    special: tuple[str, str],
) -> None:  # fmt: skip
    """Keys that both tools have, into `keys`; all that is left over is named."""
    batch, targets = special
    used = {*used, batch, targets, "gradient_accumulation_steps", "lr_scheduler_type", "lr_scheduler", "bf16", "fp16"}
    size = config.get(batch)
    if isinstance(size, int):
        steps = config.get("gradient_accumulation_steps", 1)
        keys["batch_size"] = size * (steps if isinstance(steps, int) else 1)
    found = config.get(targets)
    listed = found.split(",") if isinstance(found, str) else found
    if isinstance(listed, list) and listed and listed != ["all"]:
        keys["lora_targets"] = [str(one).strip() for one in listed]
    scheduler = str(config.get("lr_scheduler_type", config.get("lr_scheduler", "")))
    if scheduler in _SCHEDULES:
        keys["schedule"] = _SCHEDULES[scheduler]
    elif scheduler:
        made.unmatched(place, "lr_scheduler", scheduler)
    if config.get("bf16") is True:
        keys["dtype"] = "bfloat16"
    recipe = METHODS[keys["method"]]
    for theirs, ours in same.items():
        value = config.get(theirs)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool) and ours in recipe.model_fields:
            if ours != "max_steps" or value > 0:
                whole = isinstance(value, float) and value.is_integer() and ours != "lr"
                keys[ours] = int(value) if whole else value
            used.add(theirs)
    for name, value in config.items():
        if name in used or value in (None, False, "") or (name in _QUIET and name not in _SAID):
            continue
        made.unmatched(place, name, value)
