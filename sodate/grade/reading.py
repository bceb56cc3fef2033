"""From an object with a `type` to a grader as OpenAI has them, and from that to a grader of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import ValidationError

from sodate.core.complaints import complaint
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import said_by, tr
from sodate.grade.base import CannotGradeError, Case, Grade, Grader
from sodate.grade.objects import (
    MAX_GRADERS,
    Kind,
    LabelModel,
    Multi,
    Ours,
    Python,
    ScoreModel,
    StringCheck,
    TextSimilarity,
)
from sodate.grade.outcome import Judges, Outcome

Place = Literal["here", "tuning", "evals"]
"""Who asks: our own commands, reinforcement fine-tuning, or evals. Each of the platform's two knows a little less."""

TYPES: Mapping[str, type[Kind]] = {
    "string_check": StringCheck, "text_similarity": TextSimilarity, "python": Python, "score_model": ScoreModel,
    "label_model": LabelModel, "multi": Multi,
}  # fmt: skip
ParseOurs = Callable[[Mapping[str, Any]], Grader]
# Kinds of ours that read no file of this machine, so that they may come from elsewhere.
_FROM_ELSEWHERE = (
    "exact",
    "label",
    "json",
    "json_schema",
    "fields",
    "banned_words",
    "number",
    "length",
    "honest",
    "code",
    "equal",
    "regex",
    "abstention",
    "math",
    "language",
    "tone_ja",
)


def read(
    given: Any, place: Place = "here", ours: ParseOurs | None = None, where: str = "grader", *, within: bool = False
) -> Kind:
    """The grader. UsageError with the field in `param` (`grader.graders.a.operation`) for what is wrong with it.

    `ours` makes graders of our own kinds; from the wire only those that read no file. `within`: it is part of a multi.
    """
    if not isinstance(given, Mapping):
        raise _refused(tr("A grader is an object.", "採点はオブジェクトで指定してください。"), where)
    kind = str(given.get("type"))
    if kind not in TYPES:
        return _ours(given, place, ours, where)
    _allowed(given, place, where, within)
    members = dict(given)
    if kind == "multi":
        members["graders"] = _parts(given, place, ours, where)
    try:
        return TYPES[kind].model_validate(members)
    except ValidationError as error:
        sentence, _, param = complaint(error.errors(), members, where)
        raise _refused(sentence, param or where) from None
    except (ValueError, SodateError) as error:
        raise _refused(tr("The grader is wrong: ", "採点が正しくありません: ") + said_by(error), where) from None


def _allowed(given: Mapping[str, Any], place: Place, where: str, within: bool) -> None:
    kind = given["type"]
    if place == "tuning" and kind == "label_model" and not within:
        raise _refused(
            tr("label_model is for evals, or for use inside a multi grader.",
               "label_model は評価用です。学習では multi の中で使ってください。"), f"{where}.type",
        )  # fmt: skip
    if place != "here" and "engine" in given:
        raise _refused(tr("engine is for sodate's own commands.", "engine は sodate のコマンドでのみ使えます。"),
                       f"{where}.engine")  # fmt: skip
    if place == "tuning" and given.get("evaluation_metric") == "cosine":
        raise _refused(tr("cosine is for evals alone.", "cosine は評価でのみ使えます。"), f"{where}.evaluation_metric")
    if place == "evals" and kind == "multi":
        raise _refused(
            tr("multi is for fine-tuning: an eval has several testing criteria instead.",
               "multi は学習用です。評価では testing_criteria に複数の採点を並べてください。"), f"{where}.type",
        )  # fmt: skip
    if place == "evals" and kind == "text_similarity" and given.get("pass_threshold") is None:
        raise _refused(
            tr(
                "text_similarity needs a pass_threshold in an eval.",
                "評価の text_similarity には pass_threshold が必要です。",
            ),
            f"{where}.pass_threshold",
        )


def _parts(given: Mapping[str, Any], place: Place, ours: ParseOurs | None, where: str) -> dict[str, Kind]:
    graders = given.get("graders")
    if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):  # one grader, as the schema has it
        graders = {str(graders.get("name")): graders}
    if not isinstance(graders, Mapping) or not 1 <= len(graders) <= MAX_GRADERS:
        raise _refused(
            tr(f"multi needs graders, an object of 1 to {MAX_GRADERS} graders by key.",
               f"multi には graders (キーごとの採点、1〜{MAX_GRADERS} 個) が必要です。"), f"{where}.graders",
        )  # fmt: skip
    made = {}
    for key, one in graders.items():
        path = f"{where}.graders.{key}"
        if not re.fullmatch(r"[^\W\d]\w*", str(key)):
            raise _refused(
                tr(f"{key!r} can't be used in a formula: use letters, digits and _.",
                   f"{key!r} は式に書けません。文字・数字・_ を使ってください。"), path,
            )  # fmt: skip
        if isinstance(one, Mapping) and one.get("type") == "multi":
            raise _refused(
                tr("A multi grader holds no other multi grader.", "multi の中に multi は入れられません。"), path
            )
        made[str(key)] = read(one, place, ours, path, within=True)
    return made


def _ours(given: Mapping[str, Any], place: Place, ours: ParseOurs | None, where: str) -> Kind:
    kind = given.get("kind", given.get("type"))
    known = ", ".join([*TYPES, *_FROM_ELSEWHERE])
    reads_files = kind not in _FROM_ELSEWHERE
    reads_files |= kind == "json_schema" and not isinstance(given.get("schema"), Mapping)
    reads_files |= kind == "banned_words" and not isinstance(given.get("words"), list)
    reads_files |= kind == "tone_ja" and "file" in given
    if ours is None or (place != "here" and reads_files):
        raise _refused(
            tr(f"There is no grader {str(kind)[:50]!r} here.", f"採点 {str(kind)[:50]!r} はここでは使えません。"),
            f"{where}.type", tr("Known graders: ", "使えるもの: ") + known,
        )  # fmt: skip
    members = {name: value for name, value in given.items() if name not in ("type", "kind")}
    grader = ours({"kind": kind, **members})
    return Ours(type="sodate", name=grader.name, grader=grader)


def grader_of(kind: Kind, judges: Judges | None) -> Grader:
    """A grader of ours that says what `kind` says: faults of the reply are a score of 0, others stop the run."""
    if isinstance(kind, Ours):
        return kind.grader

    def many(cases: Sequence[Case]) -> list[Grade]:
        outcomes = kind.judge(cases, judges)
        for number, outcome in enumerate(outcomes):
            if outcome.fault is not None and not outcome.blames_reply:
                raise CannotGradeError(number, SodateError(outcome.reason, code="grader_failed", param="grader"))
        return [_grade(kind, outcome) for outcome in outcomes]

    about_as_long = isinstance(kind, StringCheck | TextSimilarity)
    return Grader(kind.name, needs_reference=False, whole=about_as_long, many=many, form=kind.form, asks=kind.asks)


def _grade(kind: Kind, outcome: Outcome) -> Grade:
    score = 0.0 if outcome.fault is not None else kind.scaled(outcome.value)
    within = {key: value for key, value in outcome.parts.items() if 0 <= value <= 1}
    return Grade(score, outcome.reason, within)


def _refused(message: str, param: str, fix: str = "") -> UsageError:
    return UsageError(message, fix, code="bad_grader", param=param)
