"""Recipes: the configuration of a method. Unknown keys are refused; an `auto` becomes a value, kept with its reason."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from sodate.core.complaints import reason
from sodate.core.errors import UsageError
from sodate.core.home import beside
from sodate.core.paths import is_file
from sodate.core.recipe_values import amount_bytes, column_pairs
from sodate.core.text import en, ja, tr
from sodate.core.yaml_files import read_mapping, yaml_value

Auto = Literal["auto"]
Typed = TypeVar("Typed", bound=BaseModel)
OnAlarm = Literal["lower_rate", "raise_kl", "stop", "nothing"]
Adapter = Literal["lora", "rslora", "dora", "qlora", "bottleneck", "last", "full"]

_LORA = ("lora_rank", "lora_alpha", "lora_targets")
ADAPTER_KEYS: dict[str, tuple[str, ...]] = {
    "lora": _LORA, "rslora": _LORA, "dora": _LORA, "qlora": _LORA,
    "bottleneck": ("bottleneck_size", "bottleneck_style"), "last": ("last_layers",), "full": (),
}  # fmt: skip
"""What is trained, and the keys that have a meaning for it alone."""


class Recipe(BaseModel):
    """What every method has. Lengths are in tokens, `lr` is the peak learning rate of AdamW."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str = "sft"
    model: str
    data: tuple[str, ...] = Field(min_length=1)
    eval: str | None = None
    name: str | None = None
    template: str | None = None
    encoding: str | None = None
    columns: dict[str, str] = {}

    adapter: Adapter | Auto = "auto"
    init_adapter: str | None = None
    lora_rank: PositiveInt | Auto = "auto"
    lora_alpha: PositiveFloat | Auto = "auto"
    lora_targets: tuple[str, ...] | Auto = "auto"
    bottleneck_size: PositiveInt | Auto = "auto"
    bottleneck_style: Literal["houlsby", "pfeiffer"] | Auto = "auto"
    last_layers: PositiveInt | Auto = "auto"

    epochs: PositiveFloat | Auto = "auto"
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt | Auto = "auto"
    micro_tokens: PositiveInt | Auto = "auto"
    max_length: PositiveInt | Auto = "auto"
    shuffle: bool = True
    seed: int = Field(default=0, ge=0, lt=2**31)

    lr: PositiveFloat | Auto = "auto"
    lr_multiplier: PositiveFloat = 1.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: PositiveFloat = 1.0

    eval_every: PositiveInt | Literal["auto", "epoch"] = "auto"
    early_stop: PositiveInt | None = 3
    keep: Literal["best", "last"] = "best"
    leaks: Literal["aside", "train"] = "aside"
    save_every: PositiveInt | Auto = "auto"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    memory: str | None = None
    gradient_checkpointing: bool | Auto = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"

    @field_validator("data", "lora_targets", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """A single path is a list of one; a comma list from the command line is split."""
        if isinstance(value, str) and value != "auto":
            return tuple(part for part in value.split(",") if part)
        return value

    @field_validator("memory")
    @classmethod
    def _amount(cls, value: str | None) -> str | None:
        amount_bytes(value)
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        """The form of the command line, `prompt=質問,completion=回答`, is a mapping too."""
        return column_pairs(value) if isinstance(value, str) else value


class SFTRecipe(Recipe):
    """Supervised fine-tuning."""

    method: Literal["sft"] = "sft"


class DistillRecipe(Recipe):
    """On-policy distillation from a teacher with the same tokenizer (GKD, arXiv 2306.13649). `on_policy` is the paper's
    λ, the share of rows whose reply the student writes itself; `beta` between KL from the teacher (0) and to it (1)."""

    method: Literal["distill"] = "distill"
    teacher: str
    on_policy: float = Field(default=0.5, ge=0, le=1)
    beta: float = Field(default=0.5, ge=0, le=1)
    temperature: PositiveFloat = 1.0
    max_new_tokens: PositiveInt = 256


class RewardRecipe(Recipe):
    """A reward model (Bradley-Terry, or Plackett-Luce over rankings)."""

    method: Literal["reward"] = "reward"
    ranking_loss: Literal["pairs", "listwise"] = "pairs"


class PolishRecipe(Recipe):
    """The last rungs, which can do harm: some rows are held out unless `eval` is given, alarms act, and a version that
    was not shown to be better than what it began with is not registered, unless `register_no_gain`."""

    hold_out: NonNegativeInt | Auto = "auto"
    on_alarm: OnAlarm = "lower_rate"
    register_no_gain: bool = False

    @field_validator("hold_out")
    @classmethod
    def _one_or_the_other(cls, value: int | Auto, info: ValidationInfo) -> int | Auto:
        if value not in ("auto", 0) and info.data.get("eval") is not None:
            raise ValueError(tr("eval names the held-out rows already", "検証用の行は eval で指定済みです"))
        return value


class RolloutRecipe(PolishRecipe):
    """Learning from rewards on replies the model samples itself. A row is a task; `batch_size` counts tasks."""

    rewards: tuple[str, ...] = Field(min_length=1)
    rewards_from: str | None = None
    trust_reward: str | None = Field(default=None, min_length=1)
    samples: int = Field(default=8, ge=2)
    max_new_tokens: PositiveInt = 256
    engine: str = "torch"
    kl_coefficient: float = Field(default=0.04, ge=0)
    clip_low: float = Field(default=0.2, gt=0, lt=1)

    @field_validator("kl_coefficient")
    @classmethod
    def _to_raise(cls, value: float, info: ValidationInfo) -> float:
        if not value and info.data.get("on_alarm") == "raise_kl":
            raise ValueError(tr("on_alarm=raise_kl needs a price above 0 to raise",
                                "on_alarm=raise_kl では 0 より大きい値が必要です"))  # fmt: skip
        return value

    @field_validator("rewards", mode="before")
    @classmethod
    def _sum(cls, value: Any) -> Any:
        """The form of the command line: `exact + 0.2*json`."""
        return tuple(value.split(" + ")) if isinstance(value, str) else value


class GRPORecipe(RolloutRecipe):
    """Replies to one prompt compared with each other: GRPO, Dr. GRPO, DAPO or RLOO."""

    method: Literal["grpo"] = "grpo"
    variant: Literal["grpo", "dr_grpo", "dapo", "rloo"] = "grpo"
    draws: PositiveInt = 4
    clip_high: PositiveFloat | Auto = "auto"
    updates: PositiveInt = 2


class PPORecipe(RolloutRecipe):
    """RLHF: rewards, usually of a reward model, with a learnt value for every token."""

    method: Literal["ppo"] = "ppo"
    kl_control: Literal["adaptive", "fixed"] = "adaptive"
    kl_target: PositiveFloat = 6.0
    kl_horizon: PositiveInt = 10_000
    value_clip: PositiveFloat = 0.2
    value_coefficient: PositiveFloat = 0.1
    entropy_coefficient: float = Field(default=0.0, ge=0)
    gamma: float = Field(default=1.0, gt=0, le=1)
    gae_lambda: float = Field(default=0.95, gt=0, le=1)
    updates: PositiveInt = 4

    @field_validator("kl_target", "kl_horizon")
    @classmethod
    def _of_adaptive(cls, value: float, info: ValidationInfo) -> float:
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("kl_control") == "fixed":
            raise ValueError(tr("only kl_control=adaptive has a target", "kl_control=adaptive でのみ使えます"))
        return value


class DPORecipe(PolishRecipe):
    """Direct preference optimisation (arXiv 2305.18290), the likelihood of the chosen reply beside it (2404.19733)."""

    method: Literal["dpo"] = "dpo"
    beta: PositiveFloat = 0.1
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    sft_weight: float = Field(default=1.0, ge=0)

    @field_validator("label_smoothing")
    @classmethod
    def _of_sigmoid(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("loss") != "sigmoid":
            raise ValueError(tr("only loss=sigmoid has labels to smooth", "loss=sigmoid でのみ使えます"))
        return value


class KTORecipe(PolishRecipe):
    """Kahneman-Tversky optimisation (arXiv 2402.01306)."""

    method: Literal["kto"] = "kto"
    beta: PositiveFloat = 0.1
    desirable_weight: PositiveFloat = 1.0
    undesirable_weight: PositiveFloat = 1.0


class FreeRecipe(PolishRecipe):
    """Preferences without a reference model: there is no distance to it that could cost more."""

    @field_validator("on_alarm")
    @classmethod
    def _no_reference(cls, value: OnAlarm) -> OnAlarm:
        if value == "raise_kl":
            raise ValueError(tr("this method has no reference to stay near", "この手法には参照モデルがありません"))
        return value


class ORPORecipe(FreeRecipe):
    """Odds ratio preference optimisation (arXiv 2403.07691); `beta` is the paper's λ."""

    method: Literal["orpo"] = "orpo"
    beta: PositiveFloat = 0.1


class SimPORecipe(FreeRecipe):
    """Simple preference optimisation (arXiv 2405.14734)."""

    method: Literal["simpo"] = "simpo"
    beta: PositiveFloat = 2.0
    gamma: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an `auto` became, and why."""

    key: str
    value: Any
    reason: str


METHODS: dict[str, type[Recipe]] = {
    "sft": SFTRecipe,
    "distill": DistillRecipe,
    "dpo": DPORecipe,
    "kto": KTORecipe,
    "orpo": ORPORecipe,
    "simpo": SimPORecipe,
    "reward": RewardRecipe,
    "grpo": GRPORecipe,
    "ppo": PPORecipe,
}


def given(words: Iterable[str]) -> dict[str, Any]:
    """`key=value` from the command line; a value is read as YAML."""
    values: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            values[key] = yaml_value(value)
        except yaml.YAMLError:
            raise UsageError(
                tr(f"{word}: the value is not valid YAML.", f"{word}: 値が正しい YAML ではありません。"),
                tr("Put text with [ { : or # in quotes within the value.",
                   "[ { : # を含む文字列は、値の中で引用符に入れてください。"),
             code="bad_value", param=key) from None  # fmt: skip
    return values


def load_recipe(path: Path | None, overrides: dict[str, Any]) -> Recipe:
    """A recipe from a YAML file and `key=value` overrides (which win). File paths in it are relative to the file."""
    values: dict[str, Any] = {}
    if path is not None:
        loaded = read_mapping(path, tr("Recipe", "レシピ"), "recipe", code="bad_recipe")
        values = {key: _beside(path, key, value) for key, value in loaded.items()}
        if "rewards" in values:  # their files lie beside the recipe too
            values.setdefault("rewards_from", str(path.parent))
    values |= overrides
    method = values.get("method", "sft")
    if method not in METHODS:
        raise UsageError(
            tr(f"There is no method {method!r}.", f"手法 {method!r} はありません。"),
            tr(f"Known: {', '.join(METHODS)}.", f"使えるもの: {', '.join(METHODS)}"),
            code="unknown_method",
            param="method",
        )
    return validated(METHODS[method], values, str(path) if path else "")


def validated(kind: type[Typed], values: dict[str, Any], where: str) -> Typed:
    """The values as a recipe, or another file of typed keys; or a UsageError that names the key, what is wrong with
    it, and the nearest right one."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        at = f"{where}: " if where else ""
        names = [field.alias or name for name, field in kind.model_fields.items()]
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, names, 1)
            hint = tr(f"Did you mean {near[0]}?", f"{near[0]} のことですか?") if near else ""
            known = ", ".join(names)
            raise UsageError(
                tr(f"{at}unknown key {key!r}. {en(hint)}".rstrip(), f"{at}知らないキー {key!r} です。{ja(hint)}"),
                tr(f"Known keys: {known}.", f"使えるキー: {known}"),
                code="unknown_key",
                param=key,
                file=where or None,
            ) from None
        if first["type"] == "missing":
            raise UsageError(
                tr(f"{at}{key!r} is missing.", f"{at}{key!r} がありません。"),
                tr(f"Give it as --{key}, or in a recipe.", f"--{key} か、レシピで指定してください。")
                if issubclass(kind, Recipe) and key in ("model", "data")
                else tr(f"Give it in the recipe or as {key}=VALUE.", f"レシピか {key}=値 で指定してください。")
                if issubclass(kind, Recipe)
                else tr(f"Write {key}: VALUE into the file.", f"ファイルに {key}: 値 と書いてください。"),
                code="missing_key",
                param=key,
                file=where or None,
            ) from None
        why = reason(error.errors(), values)
        raise UsageError(
            tr(f"{at}{key} = {first['input']!r}: {en(why)}.", f"{at}{key} = {first['input']!r}: {ja(why)}。"),
            code="bad_value",
            param=key,
            file=where or None,
        ) from None


def _beside(recipe: Path, key: str, value: Any) -> Any:
    """Relative files in a recipe are found beside it, wherever the command is run."""
    if key == "data" and isinstance(value, str | list):
        many = value.split(",") if isinstance(value, str) else value
        return tuple(beside(recipe, str(part)) for part in many)
    if key == "eval" and isinstance(value, str):
        return beside(recipe, value)
    if key in ("init_adapter", "template") and isinstance(value, str):
        there = recipe.parent / value
        return str(there) if is_file(there) or (key == "init_adapter" and there.exists()) else value
    return value
