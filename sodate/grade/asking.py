"""Graders that ask a model: for a number, or for one of several labels. What it answers has to fit a schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.grade import templates
from sodate.grade.base import Case
from sodate.grade.outcome import How, Judges, Outcome, Said, Usage, missed
from sodate.grade.strings import clip

MAX_TOKENS = 1024  # of a judge's reply, unless the grader says otherwise
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


class Part(BaseModel):
    """A piece of text in a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    type: Literal["input_text", "output_text", "text"]
    text: str


class Turn(BaseModel):
    """A message with holes in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Part | list[str | Part]
    type: Literal["message"] | None = None

    def text(self) -> str:
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "\n".join(part if isinstance(part, str) else part.text for part in parts)


class SamplingParams(BaseModel):
    """How a model grader's reply is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    top_p: float | None = Field(default=None, ge=0, le=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_completions_tokens: int | None = Field(default=None, ge=1, le=1_000_000)  # the name on the wire
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "default"] | None = None


def _turns(turns: list[Turn]) -> list[Turn]:
    for turn in turns:
        templates.check(turn.text())
    return turns


Messages = Annotated[list[Turn], Field(min_length=1, max_length=100), AfterValidator(_turns)]


def score(
    model: str, turns: Sequence[Turn], span: tuple[float, float], sampling: SamplingParams | None,
    cases: Sequence[Case], judges: Judges | None, engine: str = "torch",
) -> list[Outcome]:  # fmt: skip
    """A number in `span` for each case; one outside is clipped to it."""
    low, high = span
    step = 10.0 ** math.floor(math.log10((high - low) / 100))
    result = {"type": "number", "minimum": low, "maximum": high, "multipleOf": step}

    def read(said: Said) -> Outcome:
        number = _number(_result(said.text))
        if number is None:
            return unreadable(model, said)
        return Outcome(min(high, max(low, number)), tr(f"{model} gives {number:g}", f"{model} の評点 {number:g}"))

    return _asked(model, turns, how(result, sampling, engine), cases, judges, read)


def label(
    model: str, turns: Sequence[Turn], labels: Sequence[str], passing: Sequence[str], sampling: SamplingParams | None,
    cases: Sequence[Case], judges: Judges | None, engine: str = "torch",
) -> list[Outcome]:  # fmt: skip
    """1 for each case that the model gives one of the labels `passing`, 0 for another label."""

    def read(said: Said) -> Outcome:
        chosen = one_of(labels, said)
        if chosen is None:
            return unreadable(model, said)
        return Outcome(float(chosen in passing), tr(f"{model} says “{chosen}”", f"{model} の判定「{chosen}」"))

    asked = how({"type": "string", "enum": list(labels)}, sampling, engine)
    return _asked(model, turns, asked, cases, judges, read)


def _asked(
    model: str, turns: Sequence[Turn], asked: How, cases: Sequence[Case], judges: Judges | None,
    read: Callable[[Said], Outcome],
) -> list[Outcome]:  # fmt: skip
    """The model's replies, read. A case whose templates stay open is not asked about."""
    models = needed(judges, model)
    outcomes: dict[int, Outcome] = {}
    prompts: dict[int, tuple[Message, ...]] = {}
    for number, case in enumerate(cases):
        try:
            prompts[number] = tuple(
                Message("system" if turn.role == "developer" else turn.role, templates.render(turn.text(), case))
                for turn in turns
            )
        except templates.MissingError as missing:
            outcomes[number] = missed(missing)
    replies = models.ask(model, list(prompts.values()), asked) if prompts else []
    for number, said in zip(prompts, replies, strict=True):
        found = read(said) if said.failed is None else Outcome(0.0, said.failed, "model_grader_server_error")
        usage: dict[str, Usage] = {said.model: said.usage}
        outcomes[number] = Outcome(found.value, found.reason, found.fault, usage=usage, said=said.text)
    return [outcomes[number] for number in range(len(cases))]


def needed(judges: Judges | None, model: str) -> Judges:
    """The models, where there are any. UsageError where a grader asks one and none can be asked."""
    if judges is None:
        raise UsageError(
            tr(f"A grader asks the model {model}, and no model can be asked here.",
               f"採点がモデル {model} に問い合わせますが、ここではモデルを使えません。"),
            tr("Use it with sodate eval or through the API.", "sodate eval か API で使ってください。"),
            code="bad_grader", param="grader",
        )  # fmt: skip
    return judges


def how(result: Mapping[str, Any], sampling: SamplingParams | None, engine: str = "torch") -> How:
    """A few steps of thought, then the result."""
    thoughts = {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 200}}
    schema = {"type": "object", "properties": {"steps": thoughts, "result": result},
              "required": ["steps", "result"], "additionalProperties": False}  # fmt: skip
    given = sampling or SamplingParams()
    return How(
        schema,
        given.max_completions_tokens or MAX_TOKENS,
        given.temperature or 0.0,
        1.0 if given.top_p is None else given.top_p,
        (given.seed or 0) & (2**63 - 1),
        engine,
    )


def _result(text: str) -> Any:
    """`result` of a reply in JSON, be it in a code fence or after some words, or all of the reply."""
    for candidate in (text, *re.findall(r"\{[^{}]*\}", text)[-1:]):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return value.get("result") if isinstance(value, dict) else value
    return text


def one_of(labels: Sequence[str], said: Said) -> str | None:
    """Which of the labels a model chose; None where it is none of them."""
    chosen = _result(said.text)
    chosen = chosen.strip() if isinstance(chosen, str) else chosen
    return chosen if chosen in labels else None


def _number(value: Any) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if number and math.isfinite(value) else None


def unreadable(model: str, said: Said) -> Outcome:
    cut = tr(" (it was cut off)", " (途中で切れています)") if said.cut_off else tr("", "")
    reason = tr(f"{model} answered nothing that can be read: “{clip(said.text, 80)}”",
                f"{model} の回答を読み取れません: 「{clip(said.text, 80)}」")  # fmt: skip
    return Outcome(0.0, reason + cut, "model_grader_parse_error")
