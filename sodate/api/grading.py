"""Trying one of OpenAI's graders on one reply: whether it is a grader, and what it says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.grade import Case, Grader, parse_grader
from sodate.grade.answers import abstained
from sodate.grade.outcome import Judges, Outcome, Usage
from sodate.grade.reading import Place, read

_room = threading.BoundedSemaphore(4)  # graders that run at once: a program may take two minutes
_FAULTS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)  # fmt: skip


def check_grader(grader: Mapping[str, Any], place: Place = "tuning", where: str = "grader") -> None:
    """UsageError naming the field in `param` where it is no grader, or one that is not for this place."""
    read(grader, place, parse_grader, where)


def settled(grader: Mapping[str, Any], exact: Callable[[str], str]) -> dict[str, Any]:
    """A checked grader, with what `exact` says instead of the name of each model that it asks."""
    told = dict(grader)
    if told.get("type") in ("score_model", "label_model"):
        told["model"] = exact(told["model"])
    elif told.get("type") == "multi":
        parts = told["graders"]
        one = isinstance(parts.get("type"), str)  # a grader alone, as OpenAI's schema has it
        told["graders"] = settled(parts, exact) if one else {key: settled(own, exact) for key, own in parts.items()}
    return told


def run_grader(grader: Mapping[str, Any], reply: str, item: Mapping[str, Any], judges: Judges) -> dict[str, Any]:
    """The reward of one reply as OpenAI's platform tells it, and which fault it was where there is none.

    UsageError for what is no grader, SodateError `rate_limit_exceeded` where too many run.
    """
    kind = read(grader, "tuning", parse_grader)
    if not _room.acquire(blocking=False):
        raise SodateError(
            tr("Too many graders are running.", "実行中の採点が多すぎます。"),
            tr("Try again in a moment.", "少し待ってからもう一度お試しください。"),
            code="rate_limit_exceeded",
        )
    start = time.monotonic()
    try:
        (outcome,) = kind.judge([Case(reply, item=item)], judges)
    finally:
        _room.release()
    models = list(outcome.usage)
    return {
        "reward": outcome.value,
        "metadata": {
            "name": kind.name,
            "type": grader["type"],
            "errors": _faults(outcome),
            "execution_time": time.monotonic() - start,
            "scores": dict(outcome.parts),
            "token_usage": _spent(sum(outcome.usage.values(), Usage())) if models else None,
            "sampled_model_name": models[0] if models else None,
        },
        "sub_rewards": dict(outcome.parts),
        "model_grader_token_usage_per_model": {model: _spent(own) for model, own in outcome.usage.items()},
    }


def _faults(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {name: outcome.fault == name for name in _FAULTS}
    for name, detail in (
        ("python_grader_server_error", "type"),
        ("python_grader_runtime_error", "details"),
        ("model_grader_server_error", "details"),
    ):
        told[f"{name}_{detail}"] = str(outcome.reason) if outcome.fault == name else None
    return told


def _spent(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.reply,
        "total_tokens": usage.prompt + usage.reply,
        "cached_tokens": usage.cached,
    }


def check_specs(specs: Sequence[str]) -> None:
    """UsageError for the first spec that is no grader; nothing is graded, and no model is asked."""
    for spec in specs:
        parse_grader(spec)


def by_rule(specs: Sequence[str]) -> list[Grader]:
    """Graders that look at a reply alone: neither a right reply, nor a model, nor a program is asked.

    UsageError for a spec that is no grader, or none of this kind.
    """
    graders = [parse_grader(spec) for spec in specs]
    for grader in graders:
        if grader.needs_reference or grader.many is not None or kind_of(grader.name) == "citations":
            raise UsageError(
                tr(f"{grader.name} needs more than a reply to judge one.",
                   f"{grader.name} は、返答だけでは採点できません。"),
                tr("Use json, json_schema, banned_words, length or string_check with a reference of its own.",
                   "json、json_schema、banned_words、length、または正解を指定した string_check を使ってください。"),
                code="bad_grader", param="graders",
            )  # fmt: skip
    return graders


def kind_of(name: str) -> str:
    """The kind of a grader that is named by its spec."""
    return name.partition(":")[0]


def abstains(reply: str) -> bool:
    """Whether a reply says that it does not know."""
    return abstained(reply)
