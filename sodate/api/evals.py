"""What an eval of OpenAI's platform is made of: where items come from, and how one is graded."""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.grade import Case, parse_grader
from sodate.grade import templates as holes
from sodate.grade.outcome import Judges, Usage
from sodate.grade.reading import read
from sodate.grade.schemas import Schema, read_schema

MAX_CRITERIA = 50


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a run: its number from 0, its columns, and the reply where there is one already."""

    number: int
    columns: Mapping[str, Any]
    sample: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Graded:
    """What the criteria say of one item; `usage` are the tokens their judges cost."""

    results: list[dict[str, Any]] = field(default_factory=list)
    fault: str | None = None
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """pass, fail, or error where a criterion could not be judged."""
        if self.fault is not None:
            return "error"
        return "pass" if all(one["passed"] for one in self.results) else "fail"


def checked_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config as it is told: with the schema of what graders read. UsageError where it is not one."""
    kind = config.get("type")
    if kind == "custom":
        schema = config.get("item_schema")
        if not isinstance(schema, Mapping):
            raise _wrong("data_source_config.item_schema", tr("is missing", "がありません"))
        try:
            read_schema(dict(schema), "item_schema")
        except SodateError as error:
            raise UsageError(error.message, code="invalid_value", param="data_source_config.item_schema") from None
        properties: dict[str, Any] = {"item": schema}
        if config.get("include_sample_schema"):
            properties["sample"] = _SAMPLE
        told = {"type": "object", "properties": properties, "required": list(properties)}
        return {"type": "custom", "schema": told}
    if kind in ("logs", "stored_completions"):
        told = {"type": "object", "properties": {"item": {"type": "object"}, "sample": _SAMPLE},
                "required": ["item", "sample"]}  # fmt: skip
        return {"type": kind, "metadata": config.get("metadata"), "schema": told}
    raise _wrong("data_source_config.type", tr("is custom, logs or stored_completions",
                                               "は custom、logs、stored_completions のどれかです"))  # fmt: skip


_SAMPLE = {
    "type": "object",
    "properties": {"model": {"type": "string"}, "output_text": {"type": "string"}, "choices": {"type": "array"}},
    "required": ["model", "choices"],
}


def checked_criteria(criteria: Sequence[Any]) -> list[dict[str, Any]]:
    """The criteria with an id each. UsageError names the field of the first that is wrong."""
    if not 1 <= len(criteria) <= MAX_CRITERIA:
        raise _wrong(
            "testing_criteria", tr(f"has 1 to {MAX_CRITERIA} graders", f"には採点を 1〜{MAX_CRITERIA} 個指定します")
        )
    told = []
    for number, given in enumerate(criteria):
        members = {key: value for key, value in given.items() if key != "id"} if isinstance(given, Mapping) else given
        kind = read(members, "evals", parse_grader, f"testing_criteria[{number}]")
        told.append({**members, "id": f"{kind.name}-{_uuid()}"})
    return told


def check_item(config: Mapping[str, Any], item: Any, where: str, param: str) -> Mapping[str, Any]:
    """The columns of an item, if they are what the eval's schema says. `where` names it in the sentence, `param` in the
    request."""
    if not isinstance(item, Mapping):
        raise UsageError(tr(f"{where} is not an object.", f"{where} がオブジェクトではありません。"),
                         code="invalid_value", param=param)  # fmt: skip
    if config["type"] == "custom":
        problems = _item_schema(json.dumps(config["schema"]["properties"]["item"])).problems(dict(item))
        if problems:
            raise UsageError(
                tr(f"{where} does not fit item_schema: {problems[0]}",
                   f"{where} が item_schema に合いません: {problems[0]}"),
                code="invalid_value", param=param,
            )  # fmt: skip
    return item


@functools.lru_cache(16)
def _item_schema(document: str) -> Schema:
    return read_schema(json.loads(document), "item_schema")


def messages_for(template: Mapping[str, Any], item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages a model is asked for an item: a template's, or those that the item has. SodateError without them."""
    case = Case("", item=item)
    if template.get("type") == "item_reference":
        name = str(template.get("item_reference", ""))
        value: Any = item
        for step in name.removeprefix("item.").split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if not isinstance(value, list):
            raise SodateError(tr(f"{name} is not a list of messages.", f"{name} がメッセージのリストではありません。"),
                              code="grader_failed", param="item_reference")  # fmt: skip
        return [dict(one) for one in value if isinstance(one, Mapping)]
    return [
        {"role": turn.get("role"), "content": holes.render(_turn_text(turn), case)} for turn in template["template"]
    ]


def check_messages(template: Any, where: str) -> None:
    """UsageError where it is neither a template nor a reference to messages of an item."""
    kind = template.get("type") if isinstance(template, Mapping) else None
    if kind == "item_reference" and re.fullmatch(r"item\.[^\s{}]+", str(template.get("item_reference"))):
        return
    turns = template.get("template") if kind == "template" else None
    if not isinstance(turns, list) or not turns:
        raise _wrong(where, tr("is a template with messages, or an item_reference such as item.input",
                               "は template か、item.input のような item_reference です"))  # fmt: skip
    for number, turn in enumerate(turns):
        role = turn.get("role") if isinstance(turn, Mapping) else None
        if role not in ("system", "developer", "user", "assistant"):
            raise _wrong(f"{where}.template[{number}].role", tr("is not a role", "が役割ではありません"))
        try:
            holes.check(_turn_text(turn))
        except holes.BadTemplateError as error:
            raise UsageError(error.args[0], code="invalid_value", param=f"{where}.template[{number}]") from None


def asked_params(given: Mapping[str, Any]) -> dict[str, Any]:
    """A run's sampling_params as a chat completion is asked. The platform has two names for the longest reply, and
    writes the form and the tools of a run over responses as that endpoint does."""
    told = {name: value for name, value in given.items() if name not in ("max_completions_tokens", "text", "tools")}
    if "max_completions_tokens" in given:
        told.setdefault("max_completion_tokens", given["max_completions_tokens"])
    form = (given.get("text") or {}).get("format")
    if form is not None:
        schema = {name: value for name, value in form.items() if name != "type"}
        told["response_format"] = {"type": form["type"], **({"json_schema": schema} if schema else {})}
    if given.get("tools"):
        told["tools"] = [
            tool if "function" in tool
            else {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
            for tool in given["tools"]
        ]  # fmt: skip
    return told


def _turn_text(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    parts = content if isinstance(content, list) else [content]
    return "\n".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part or "") for part in parts)


def sample_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion as graders see it."""
    choices = body.get("choices") or [{}]
    first = choices[0] if isinstance(choices, list) else None
    message = first.get("message") if isinstance(first, Mapping) else None
    message = message if isinstance(message, Mapping) else {}
    text = message.get("content") or ""
    sample = {"output_text": text, "output_tools": message.get("tool_calls") or [], "choices": choices,
              "model": body.get("model")}  # fmt: skip
    return with_json(sample)


def with_json(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample with `output_json` where its text is JSON and it has none."""
    made = dict(sample)
    if "output_json" not in made and isinstance(made.get("output_text"), str):
        try:
            made["output_json"] = json.loads(made["output_text"])
        except (ValueError, RecursionError):
            made["output_json"] = None
    return made


def grade(criteria: Sequence[Mapping[str, Any]], items: Sequence[Item], judges: Judges) -> list[Graded]:
    """Each item under every criterion. What can't be graded has a fault, which is neither passed nor failed."""
    # A sample that is not there lacks what templates read; it isn't an empty reply.
    cases = [
        Case(str((one.sample or {}).get("output_text") or ""), item=one.columns, sample=one.sample or {"choices": []})
        for one in items
    ]
    graded = [Graded() for _ in items]
    for criterion in criteria:
        kind = read({k: v for k, v in criterion.items() if k != "id"}, "evals", parse_grader)
        for own, outcome in zip(graded, kind.judge(cases, judges), strict=True):
            failed = outcome.fault is not None
            passed = not failed and outcome.value >= kind.threshold
            result = {"name": criterion["id"], "type": criterion["type"], "score": outcome.value, "passed": passed,
                      "reason": str(outcome.reason)}  # fmt: skip
            if outcome.said is not None:
                result["sample"] = {"output": [{"role": "assistant", "content": outcome.said}]}
            own.results.append(result)
            if failed and not outcome.blames_reply:
                own.fault = own.fault or str(outcome.reason)
            for model, cost in outcome.usage.items():
                own.usage[model] = own.usage.get(model, Usage()) + cost
    return graded


def compared(
    names: Sequence[str], criteria: Sequence[str], scores: Mapping[str, Sequence[Mapping[str, float]]]
) -> dict[str, Any]:
    """Runs on the same items, compared in pairs as by `sodate eval`: `scores[run][item][criterion]`, in [0, 1]."""
    from sodate.evaluate.items import EvalItem
    from sodate.evaluate.run import evaluate
    from sodate.grade import Grade, Grader

    def grader(criterion: str) -> Grader:
        def many(cases: Sequence[Case]) -> list[Grade]:
            found = []
            for case in cases:
                run, _, item = case.reply.rpartition(" ")
                value = scores[run][int(item)][criterion]
                found.append(Grade(min(1.0, max(0.0, value)), f"{value:g}"))
            return found

        return Grader(criterion, needs_reference=False, many=many)

    count = len(scores[names[0]])
    replies = {name: [f"{name} {number}" for number in range(count)] for name in names}
    items = [EvalItem((), None) for _ in range(count)]
    return evaluate(replies, items, [grader(one) for one in criteria]).to_json()


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _wrong(param: str, what: str) -> UsageError:
    return UsageError(tr(f"{param} ", f"{param} ") + what + tr(".", "。"), code="invalid_value", param=param)
