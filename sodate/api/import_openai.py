"""`sodate import openai DIR`: what people saved of OpenAI's platform, as JSON and JSONL, made into files of ours.

Objects are known by their `object`, or by their members where they have none; a file is a training file when its rows
are training rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sodate.api.evals import sample_of
from sodate.api.imported import Imported, begin, slug
from sodate.core import json_faults
from sodate.core.errors import SodateError
from sodate.core.text import counted, en, ja, tr
from sodate.data.supervised import NOT_ITEM
from sodate.grade import parse_grader
from sodate.grade.reading import TYPES, read

MOST_BYTES = 1_000_000_000  # of a file that is read
_METHODS = {"supervised": "sft", "dpo": "dpo", "reinforcement": "grpo"}
_SILENT = ("fine_tuning.job.event", "list", "upload", "upload.part", "model")  # known, and nothing to keep
_ROWS = (
    frozenset(("messages",)), frozenset(("prompt", "completion")), frozenset(("input", "preferred_output")),
    frozenset(("input", "preferred_completion")), frozenset(("prompt", "chosen", "rejected")),
)  # fmt: skip


@dataclass(slots=True)
class _Found:
    """Objects by kind, each with the place it comes from."""

    datasets: list[Path] = field(default_factory=list)
    items: list[Path] = field(default_factory=list)
    objects: dict[str, list[tuple[str, Mapping[str, Any]]]] = field(default_factory=dict)
    messages: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # of stored completions, by their id

    def add(self, kind: str, place: str, value: Mapping[str, Any]) -> None:
        """One more object of a kind."""
        self.objects.setdefault(kind, []).append((place, value))

    def of(self, kind: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The objects of a kind, with their places."""
        return self.objects.get(kind, [])


def import_openai(source: Path, out: Path | None = None) -> Imported:
    """Datasets, recipes, graders, evals, items and recorded replies of what lies in a folder (or one file)."""
    made = begin("openai", source, out)
    found = _Found()
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(source).as_posix() if source.is_dir() else path.name
        _look(path, name, found, made)
    contents = {path.name: made.copied("dataset", path.stem, path, _name(path, source)) for path in found.datasets}
    for path in found.items:
        made.copied("item", path.stem, path, _name(path, source))
    _files(found, made, contents)
    _jobs(found, made, contents)
    for place, grader in found.of("grader"):
        _grader(made, grader, str(grader.get("name") or "grader"), place)
    _evals(found, made)
    _completions(found, made)
    made.note()
    return made


def _name(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix() if source.is_dir() else path.name


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _look(path: Path, name: str, found: _Found, made: Imported) -> None:
    if path.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
        made.leave(name, tr("It is neither JSON nor JSONL.", "JSON でも JSONL でもありません。"))
        return
    if path.stat().st_size > MOST_BYTES:
        made.leave(name, tr("It is larger than 1 GB.", "1 GB を超えています。"))
        return
    try:
        values = list(_values(path, name))
    except (ValueError, RecursionError) as error:
        made.leave(name, json_faults.unread(error))
        return
    if path.suffix.lower() != ".json" and values and all(_is_row(value) for _, value in values):
        found.datasets.append(path)
    elif path.suffix.lower() != ".json" and values and all(_is_item(value) for _, value in values):
        found.items.append(path)
    else:
        for place, value in values:
            _sort(place, value, found, made)


def _values(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """The objects of a file with their places: lines, elements of a list, those of a page that a list call gave."""
    text = path.read_text("utf-8-sig")
    if path.suffix.lower() == ".json":
        yield from _unpacked(json.loads(text), name)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield from _unpacked(json.loads(line), f"{name}:{number}")
            except ValueError as error:
                raise ValueError(json_faults.said(error, number)) from None


def _unpacked(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    inner = value.get("data") if isinstance(value, dict) and "id" not in value else value
    if isinstance(inner, list):
        for number, one in enumerate(inner):
            yield from _unpacked(one, f"{place}[{number}]")
    else:
        yield place, value


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, dict) and "object" not in value and not {"choices", "completion_id"} & set(value)
        and any(keys <= set(value) for keys in _ROWS)
    )  # fmt: skip


def _is_item(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("item"), dict) and set(value) <= {"item", "sample"}


def _sort(place: str, value: Any, found: _Found, made: Imported) -> None:
    if not isinstance(value, dict):
        made.leave(place, tr("It is not an object.", "オブジェクトではありません。"))
        return
    inner = value.get("completion") or value.get("response")
    if isinstance(inner, dict) and inner.get("object") == "chat.completion":  # with its messages beside it
        value = {**inner, "messages": value.get("messages") or value.get("input")}
    kind = str(value.get("object", ""))
    if kind in ("fine_tuning.job", "file", "eval", "eval.run", "eval.run.output_item", "chat.completion"):
        found.add(kind, place, value)
    elif str(value.get("type")) in TYPES and "name" in value:
        found.add("grader", place, value)
    elif isinstance(value.get("grader"), dict):
        found.add("grader", place, value["grader"])
    elif "testing_criteria" in value and "data_source_config" in value:
        found.add("eval", place, value)
    elif (owner := re.fullmatch(r"(chatcmpl-\w+)-\d{1,9}", str(value.get("id", "")))) and "role" in value:
        found.messages.setdefault(owner[1], []).append(value)
    elif kind == "fine_tuning.job.checkpoint":
        made.leave(place, tr("A checkpoint is a name; OpenAI gives no weights.",
                             "チェックポイントは名前だけで、OpenAI は重みを渡しません。"))  # fmt: skip
    elif kind not in _SILENT:
        what = kind or ", ".join(list(value)[:5])
        made.leave(
            place, tr(f"Nothing here knows what it is ({what[:80]}).", f"何のデータか分かりません ({what[:80]})。")
        )


# ── files and jobs ───────────────────────────────────────────────────────────────────────────────────────────────────


def _files(found: _Found, made: Imported, contents: dict[str, Path]) -> None:
    """Ids of files as names of what was copied, in `contents`; those whose content was not saved are left."""
    for place, one in found.of("file"):
        id, name = str(one.get("id")), str(one.get("filename"))
        held = next((contents[n] for n in (name, id, f"{id}.jsonl") if n in contents), None)
        if held is not None:
            contents[id] = held
        elif one.get("purpose") == "fine-tune":
            made.leave(
                place, tr(f"The content of {name} was not saved with it.", f"{name} の中身が保存されていません。")
            )
        else:
            made.leave(place, tr(f"A file of purpose {one.get('purpose')} is not needed here.",
                                 f"purpose が {one.get('purpose')} のファイルはここでは使いません。"))  # fmt: skip


def _jobs(found: _Found, made: Imported, contents: Mapping[str, Path]) -> None:
    for place, job in found.of("fine_tuning.job"):
        method = _dict(job.get("method"))
        kind = str(method.get("type", "supervised"))
        own = _dict(method.get(kind))
        given = {**_dict(job.get("hyperparameters")), **_dict(own.get("hyperparameters"))}
        keys: dict[str, Any] = {"method": _METHODS.get(kind, "sft")}
        for key, field_name in (("data", "training_file"), ("eval", "validation_file")):
            id = job.get(field_name)
            if id in contents:
                path = f"../datasets/{contents[str(id)].name}"
                keys[key] = [path] if key == "data" else path
            elif id:
                made.leave(
                    f"{place} {field_name}",
                    tr(f"The content of {id} was not saved.", f"{id} の中身が保存されていません。"),
                )
        suffix = job.get("user_provided_suffix") or _suffix(job.get("fine_tuned_model"))
        if suffix:
            keys["name"] = slug(str(suffix))
        for theirs, ours in (("n_epochs", "epochs"), ("batch_size", "batch_size"), ("beta", "beta")):
            if isinstance(given.get(theirs), int | float) and (theirs != "beta" or kind == "dpo"):
                keys[ours] = given[theirs]
        if isinstance(job.get("seed"), int) and 0 <= job["seed"] < 2**31:
            keys["seed"] = job["seed"]
        if kind == "reinforcement" and isinstance(own.get("grader"), dict):
            keys["rewards"] = [json.dumps(own["grader"], ensure_ascii=False)]
            _grader(made, own["grader"], str(own["grader"].get("name") or "reward"), place)
        made.recipe(str(job.get("id", "job")), keys, place)
        _left_of_job(made, place, job, given)


def _left_of_job(made: Imported, place: str, job: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if job.get("fine_tuned_model"):
        made.leave(f"{place} fine_tuned_model", tr(
            f"OpenAI gives no weights of {job['fine_tuned_model']}: train again from the recipe.",
            f"{job['fine_tuned_model']} の重みは OpenAI から得られません。レシピで学習し直してください。"))  # fmt: skip
    if job.get("model"):
        made.leave(f"{place} model", tr(f"{job['model']} is not an open model: sodate train RECIPE --model NAME.",
                                        f"{job['model']} は公開モデルではありません (--model で指定)。"))  # fmt: skip
    for key, value in given.items():
        if key not in ("n_epochs", "batch_size", "beta") and value not in ("auto", None):
            why = tr("a multiple of a rate that is not known; sodate finds its own (lr)",
                     "元の学習率が分からない倍率のため、lr は自動で決まります")  # fmt: skip
            other = tr("it has no counterpart", "対応するものがありません")
            said = why if key == "learning_rate_multiplier" else other
            made.leave(f"{place} {key}", tr(f"{key} = {value}: {en(said)}.", f"{key} = {value}: {ja(said)}。"))
    for integration in _list(job.get("integrations")):
        made.leave(f"{place} integrations", tr(f"{integration.get('type')} is not connected here.",
                                               f"{integration.get('type')} との連携はありません。"))  # fmt: skip


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _suffix(model: Any) -> str:
    parts = str(model or "").split(":")
    return parts[3] if len(parts) > 4 else ""


def _grader(made: Imported, grader: Mapping[str, Any], name: str, place: str) -> bool:
    """The grader as a file, if it is one."""
    definition = {key: value for key, value in grader.items() if key != "id"}
    try:
        read(definition, "here", parse_grader)
    except SodateError as error:
        made.leave(place, error.message)
        return False
    made.document("grader", name, definition, place)
    for model in sorted(_models_in(definition)):
        why = tr(f"The grader {name} asks {model}: name a model of yours in it.",
                 f"採点 {name} は {model} を使います。自分のモデルに変えてください。")  # fmt: skip
        made.leave(f"{place} model", why)
    return True


def _models_in(grader: Mapping[str, Any]) -> set[str]:
    inner = grader.get("graders")
    parts = list(inner.values()) if isinstance(inner, dict) else []
    found = {str(grader["model"])} if "model" in grader else set()
    return found.union(*(_models_in(part) for part in parts if isinstance(part, dict)))


# ── evals ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _evals(found: _Found, made: Imported) -> None:
    names: dict[str, str] = {}
    for place, one in found.of("eval"):
        name = str(one.get("name") or one.get("id") or "eval")
        names[str(one.get("id"))] = name
        made.document("eval", name, _definition(one), place)
        for criterion in _list(one.get("testing_criteria")):
            _grader(made, criterion, f"{name}-{criterion.get('name') or criterion.get('type')}", place)
    runs = {str(run.get("id")): run for _, run in found.of("eval.run")}
    outputs: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    places: dict[str, str] = {}
    for place, one in found.of("eval.run.output_item"):
        eval, run = (
            str(one.get("eval_id") or runs.get(str(one.get("run_id")), {}).get("eval_id")),
            str(one.get("run_id")),
        )
        number = one.get("datasource_item_id")
        if not isinstance(number, int) or _reply(one) is None:
            made.leave(place, tr("The item has no reply.", "この項目に返答がありません。"))
            continue
        outputs.setdefault(eval, {}).setdefault(run, {})[number] = one
        places.setdefault(run, place.partition(":")[0].partition("[")[0])
    for eval, by_run in outputs.items():
        _recorded(made, names.get(eval, eval), by_run, runs, places)
    for place, about in found.of("eval.run"):
        if str(about.get("id")) not in places:
            made.leave(place, tr("Its output items were not saved, so there are no replies to compare with.",
                                 "出力項目が保存されていないため、比較できる返答がありません。"))  # fmt: skip


def _definition(one: Mapping[str, Any]) -> dict[str, Any]:
    """What POST /v1/evals takes to make it again."""
    config = dict(_dict(one.get("data_source_config")))
    if config.get("type") == "custom":
        properties = _dict(_dict(config.get("schema")).get("properties"))
        schema = config.get("item_schema") or properties.get("item") or {}
        with_sample = "sample" in properties or config.get("include_sample_schema") is True
        config = {"type": "custom", "item_schema": schema, "include_sample_schema": with_sample}
    else:
        config.pop("schema", None)
    criteria = [{k: v for k, v in c.items() if k != "id"} for c in _list(one.get("testing_criteria"))]
    return {"name": one.get("name") or "", "metadata": one.get("metadata") or {}, "data_source_config": config,
            "testing_criteria": criteria}  # fmt: skip


def _reply(output: Mapping[str, Any]) -> str | None:
    said = _dict(output.get("sample")).get("output")
    last = said[-1] if isinstance(said, list) and said else None
    content = last.get("content") if isinstance(last, dict) else None
    return content if isinstance(content, str) else None


def _recorded(
    made: Imported, eval: str, by_run: Mapping[str, Mapping[int, Mapping[str, Any]]], runs: Mapping[str, Any],
    places: Mapping[str, str],
) -> None:  # fmt: skip
    """The items that every run answered as one data file, and each run's replies to them."""
    common = sorted(set.intersection(*(set(own) for own in by_run.values())))
    everything = set().union(*(set(own) for own in by_run.values()))
    first = next(iter(by_run))
    if len(common) < len(everything):
        left = len(everything) - len(common)
        made.leave(places[first], tr(f"{counted(left, 'item')} of {eval} not answered in every run.",
                                     f"{eval} の {left} 件は、一部の実行でしか回答されていません。"))  # fmt: skip
    if not common:
        return
    rows = [_item_row(by_run[first][number]) for number in common]
    made.rows("dataset", f"{eval}-items", rows, places[first])
    for run, own in by_run.items():
        about = runs.get(run, {})
        name = str(about.get("name") or about.get("model") or run)
        replies = [{"line": line, "reply": _reply(own[number])} for line, number in enumerate(common, 1)]
        made.rows("baseline", f"{eval}-{name}", replies, places[run])


def _item_row(output: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a row that can be asked: what the model was asked, and the item's columns beside it."""
    item = _dict(output.get("datasource_item"))
    asked = _turns(_dict(output.get("sample")).get("input"))
    if not asked:
        text = next((value for value in item.values() if isinstance(value, str) and value), json.dumps(item))
        asked = [{"role": "user", "content": text}]
    columns = {key: value for key, value in item.items() if key not in NOT_ITEM and key != "object"}
    return {"messages": asked, **(columns or {"item": output.get("datasource_item_id")})}


def _turns(given: Any) -> list[dict[str, Any]]:
    turns = []
    for turn in given if isinstance(given, list) else ():
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "developer", "user", "assistant", "tool"):
            continue
        content = turn.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        kept = {key: turn[key] for key in ("tool_calls", "tool_call_id", "name") if turn.get(key)}
        turns.append({"role": turn["role"], "content": content or "", **kept})
    return turns


# ── stored completions ───────────────────────────────────────────────────────────────────────────────────────────────


def _completions(found: _Found, made: Imported) -> None:
    by_model: dict[str, list[tuple[str, dict[str, Any], str]]] = {}
    for place, one in found.of("chat.completion"):
        id = str(one.get("id"))
        ordered = sorted(found.messages.get(id, ()), key=lambda turn: int(str(turn["id"]).rpartition("-")[2]))
        asked = _turns(one.get("messages") or one.get("input") or ordered)
        sample = sample_of(one)
        if not asked:
            made.leave(place, tr("Its messages were not saved (GET …/messages).",
                                 "入力メッセージが保存されていません (GET …/messages)。"))  # fmt: skip
            continue
        if not sample["output_text"] and not sample["output_tools"]:
            made.leave(place, tr("It has no reply.", "返答がありません。"))
            continue
        said = {"role": "assistant", "content": sample["output_text"]}
        if sample["output_tools"]:
            said["tool_calls"] = sample["output_tools"]
        row = {"messages": [*asked, said], **({"tools": one["tools"]} if one.get("tools") else {})}
        by_model.setdefault(str(one.get("model", "model")), []).append((place, row, sample["output_text"]))
    for model, rows in by_model.items():
        source = rows[0][0].partition(":")[0].partition("[")[0]
        made.rows("dataset", f"completions-{model}", [row for _, row, _ in rows], source)
        replies = [{"line": line, "reply": text} for line, (_, _, text) in enumerate(rows, 1)]
        made.rows("baseline", model, replies, source)
