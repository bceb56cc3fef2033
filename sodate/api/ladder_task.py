"""A task: what has to be known before it can be said whether a prompt, documents or training is the tool for it.

It is a YAML file that a person writes, or answers questions for (`sodate ladder --new`). Its keys are typed as those of
a recipe are; unknown ones are refused by name. The ladder writes one key into it: `roles`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import write_text
from sodate.core.recipe import METHODS, validated
from sodate.core.recipe_values import column_pairs
from sodate.core.text import Sentence, tr
from sodate.core.yaml_files import read_mapping
from sodate.data.datasets import located, to_train_on

Wrong = Literal["accuracy", "consistency", "banned_words", "format", "tone"]
Change = Literal["never", "yearly", "monthly", "weekly", "daily"]
Purpose = Literal["task", "knowledge", "accuracy", "consistency", "banned_words", "format", "tone"]
Layer = Literal["prompt", "retrieval", "training"]

A_MONTH: Mapping[Change, float] = {"never": 0, "yearly": 1 / 12, "monthly": 1, "weekly": 52 / 12, "daily": 365 / 12}
"""How many times a month knowledge changes, and what holds it has to be built again."""
FEW_ROWS = 50  # training rows below which training is rarely worth it
OWN_KEYS = ("model", "data", "eval", "name", "method", "columns", "encoding", "seed")  # of recipes: the ladder's


class Task(BaseModel):
    """What the job is, the rows to measure it with, and what it may cost. Files are relative to the task's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    name: str = ""
    goal: str = Field(min_length=1)
    wrong: tuple[Wrong, ...] = ("accuracy",)
    knowledge: Change = "never"
    target: float | None = Field(default=None, ge=0, le=1)

    model: str
    grader: tuple[str, ...] = Field(min_length=1)
    train: tuple[str, ...] = Field(min_length=1)
    heldout: str
    develop: str | None = None
    columns: dict[str, str] = {}
    encoding: str | None = None
    cluster: str | None = None

    documents: tuple[str, ...] = ()
    structure: str | None = Field(default=None, alias="schema")
    prompts: tuple[str, ...] = ()
    preferences: str | None = None
    tasks: str | None = None
    training: dict[str, Any] = {}
    rows: PositiveInt | None = None
    heldout_rows: PositiveInt | None = None
    max_tokens: PositiveInt | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)

    requests_per_month: PositiveInt = 10_000
    machine_hour: float = Field(default=0.1, ge=0)
    currency: str = Field(default="USD", min_length=1, max_length=12)

    roles: dict[Layer, tuple[Purpose, ...]] | None = None

    @field_validator("wrong", "grader", "train", "documents", "prompts", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("columns", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return column_pairs(value) if isinstance(value, str) else value

    @field_validator("training")
    @classmethod
    def _of_a_recipe(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key in OWN_KEYS or key not in METHODS["sft"].model_fields:
                raise ValueError(tr(f"{key} is no key of a recipe that may be set here",
                                    f"{key} はここで指定できるレシピのキーではありません"))  # fmt: skip
        return value


@dataclass(frozen=True, slots=True)
class Given:
    """A task, and the file that it came from."""

    task: Task
    path: Path

    @property
    def folder(self) -> Path:
        """Where the files that it names lie."""
        return self.path.absolute().parent

    @property
    def name(self) -> str:
        """Of the ladder, and what its versions begin with."""
        return self.task.name

    def beside(self, name: str) -> Path:
        """A file that the task names, or the rows of a dataset."""
        return located(home.beside(self.path.absolute(), name))

    def to_train_on(self, name: str) -> Path:
        """The same of rows that are learnt from or chosen by: a held-out dataset is refused."""
        return to_train_on(home.beside(self.path.absolute(), name))


def load_task(path: Path) -> Given:
    """The task of a file. UsageError naming the key where one is unknown, missing or wrong, and files that aren't
    there."""
    values = read_mapping(path, tr("Task", "タスク"), "task", code="bad_task")
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().parent.name + "-" + path.stem)[:40])
    given = Given(validated(Task, values, str(path)), path)
    home.checked_name(given.name, tr("The task", "タスク名"))
    if len(given.name) > 40:
        raise _bad(path, "name", tr("at most 40 characters", "40 文字以内にしてください"))
    for key in ("train", "heldout", "develop", "documents", "structure", "preferences", "tasks"):
        value = getattr(given.task, key)
        for name in (value,) if isinstance(value, str) else value or ():
            missing = given.beside(name)
            if not missing.exists():
                raise UsageError(
                    tr(f"{path}: {key}: {missing} is not there.", f"{path}: {key}: {missing} がありません。"),
                    code="file_missing", param="schema" if key == "structure" else key, file=missing,
                )  # fmt: skip
    return given


def _bad(path: Path, key: str, why: Sentence) -> UsageError:
    return UsageError(
        tr(f"{path}: {key}: {why.en}.", f"{path}: {key}: {why.ja}。"), code="bad_value", param=key, file=path
    )


# ── when training is the wrong tool ──────────────────────────────────────────────────────────────────────────────────


def endless(schema: Any, name: str = "") -> list[str]:
    """The properties of a JSON schema that may be lists or texts of any length, each once."""
    if not isinstance(schema, Mapping):
        return [one for inner in schema for one in endless(inner, name)] if isinstance(schema, list) else []
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else (kinds,)
    free = ("array" in kinds and "maxItems" not in schema) or (
        "string" in kinds and schema.keys().isdisjoint(("maxLength", "enum", "const", "pattern", "format"))
    )
    found = [name or str(tr("the reply", "返答"))] if free else []
    for key, inner in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(inner, Mapping):
            found += [one for own, value in inner.items() for one in endless(value, own)]
        elif key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
            found += endless(inner, name)
    return list(dict.fromkeys(found))


def advice(task: Task, rows: int | None = None, free: Sequence[str] = ()) -> list[Sentence]:
    """What the answers alone say before anything is measured; `rows` are the training rows, where they were counted,
    and `free` what the schema sets no end to."""
    found = []
    fresh = task.knowledge in ("weekly", "daily")
    if task.knowledge != "never" and not task.documents:
        found.append(tr(
            f"The facts change {task.knowledge}. Weights keep what was true on the day of the training; give the facts "
            "as `documents`, and train for form and judgement only.",
            "事実は変わっていくのに、重みには学習した日の内容しか残りません。事実は documents に文書として渡し、"
            "学習は形や判断のためだけに使ってください。",
        ))  # fmt: skip
    if fresh and set(task.wrong) == {"accuracy"}:
        found.append(tr(
            "Accuracy on facts that change this quickly is work for retrieval: training is the wrong tool for it.",
            "これほど早く変わる事実の正確さは、検索の仕事です。学習は向いていません。",
        ))  # fmt: skip
    if set(task.wrong) == {"format"} and task.structure:
        found.append(tr(
            "Only the format is wrong, and there is a schema: replies that are held to it can't be of another form. "
            "Training is the wrong tool unless what stands inside the form is wrong, too.",
            "問題は形式だけで、スキーマもあります。返答をスキーマに従わせれば形は必ず守られるので、"
            "中身も間違っているのでない限り、学習は要りません。",
        ))  # fmt: skip
    if set(task.wrong) == {"banned_words"}:
        found.append(tr(
            "A list of words is checked surely by a program and never surely by a model: put a check behind the model "
            "first, and train only if it has to write too many replies again.",
            "禁止語の一覧は、モデルではなくプログラムで調べるのが確実です。先に検査を置き、"
            "書き直しが多すぎる場合にだけ学習してください。",
        ))  # fmt: skip
    if task.requests_per_month < 300:
        found.append(tr(
            f"{task.requests_per_month} requests a month: keeping a trained model costs more attention than a longer "
            "prompt costs time.",
            f"月 {task.requests_per_month} 件であれば、学習したモデルを保つ手間の方が、長いプロンプトにかかる時間より"
            "大きくなります。",
        ))  # fmt: skip
    if free:
        names = ", ".join(free)
        found.append(tr(
            f"The schema sets no end to {names}: a small model that is held to it may write on until its reply is cut "
            "off, and is worth nothing then. Give lists a `maxItems` and texts a `maxLength`.",
            f"スキーマの {names} に上限がありません。小さなモデルは従わせても書き続け、途中で切れた返答は使えません。"
            "リストには maxItems、文字列には maxLength を付けてください。",
        ))  # fmt: skip
    if rows is not None and rows < FEW_ROWS:
        found.append(tr(
            f"{rows} training rows are few: put the best of them into the prompt, and collect {FEW_ROWS} or more.",
            f"学習データが {rows} 行しかありません。良いものをプロンプトの例に使い、"
            f"{FEW_ROWS} 行以上を集めてください。",
        ))  # fmt: skip
    return found


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────

_ROLES = "# What prompt, retrieval and training are each for, by `sodate ladder`. Measure again before you change it.\n"


def write_task(path: Path, answers: Mapping[str, Any]) -> Given:
    """Writes a new task file from answers, checked; never over another file."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in answers.items()}
    task = validated(Task, dict(values), str(path))
    if path.exists():
        raise UsageError(
            tr(f"{path} is there already.", f"{path} はすでにあります。"),
            tr("Choose another name, or change that file.", "別の名前にするか、そのファイルを編集してください。"),
            code="file_exists", param="task", file=path,
        )  # fmt: skip
    write_text(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=110))
    return Given(task, path)


def roles(task: Task, rung: str) -> dict[str, list[str]]:
    """What each layer is for from now on, by the rung that was recommended."""
    trained = any(word in rung for word in ("sft", "preference", "reinforcement"))
    found: dict[str, list[str]] = {"prompt": ["task"], "retrieval": [], "training": []}
    changing = task.knowledge != "never"
    if "retrieval" in rung:
        found["retrieval"].append("knowledge")
    elif trained and not changing:
        found["training"].append("knowledge")
    else:
        found["prompt"].append("knowledge")
    for purpose in task.wrong:
        held = purpose == "format" and rung.endswith("+schema")
        found["training" if trained and not held else "prompt"].append(purpose)
    return found


def write_roles(given: Given, found: Mapping[str, Sequence[str]]) -> None:
    """Puts `roles` at the end of the task file; the rest of it stays as it is, letter by letter."""
    text = given.path.read_text("utf-8")
    text = text.replace(_ROLES, "")
    text = re.sub(r"^roles:[^\n]*\n?(?:[ \t]+[^\n]*\n?)*", "", text, flags=re.MULTILINE).rstrip("\n") + "\n"
    block = yaml.safe_dump({"roles": {key: list(value) for key, value in found.items()}}, sort_keys=False,
                           default_flow_style=None)  # fmt: skip
    write_text(given.path, text + _ROLES + block)
