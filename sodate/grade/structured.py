"""Replies that are JSON: strict reading, and validation against a schema."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sodate.core import json_faults
from sodate.core.text import tr
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.schemas import Schema
from sodate.grade.strings import clip

MAX_DEPTH = 64
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_MAX_STARTS = 50


class NotJsonError(ValueError):
    """The text is not a JSON document; the message says why."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        count = Counter(name for name, _ in pairs)
        twice = next(name for name in count if count[name] > 1)
        raise NotJsonError(tr(f"the key “{clip(twice)}” occurs twice", f"キー「{clip(twice)}」が重複しています"))
    return value


def _constant(text: str) -> Any:
    raise NotJsonError(tr(f"{text} is not JSON", f"{text} は JSON ではありません"))


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotJsonError(tr(f"the number {clip(text)} is out of range", f"数値 {clip(text)} は範囲外です"))
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)


def _checked(value: Any) -> Any:
    """`value`, if it is not deeper than MAX_DEPTH and its strings are text; NotJsonError otherwise."""
    level = [value]
    for _ in range(MAX_DEPTH):
        objects = [one for one in level if isinstance(one, dict)]
        try:
            "".join(
                [one for one in (*level, *(key for one in objects for key in one)) if isinstance(one, str)]
            ).encode()
        except UnicodeEncodeError:
            raise NotJsonError(tr("half a surrogate pair", "サロゲートペアの片割れがあります")) from None
        lists = [one for one in level if isinstance(one, list)]
        level = [*(inner for one in objects for inner in one.values()), *(inner for one in lists for inner in one)]
        if not level:
            return value
    raise NotJsonError(tr(f"nested more than {MAX_DEPTH} deep", f"入れ子が {MAX_DEPTH} 段を超えています"))


def read_json(text: str) -> Any:
    """The JSON value that is the whole of `text`, white space around it apart.

    Stricter than Python's reader: NaN, infinities, numbers beyond a double, a key given twice, half a surrogate pair
    and nesting deeper than MAX_DEPTH are refused with NotJsonError.
    """
    try:
        return _checked(_DECODER.decode(text))
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NotJsonError(tr("the reply is empty", "返答が空です")) from None
        what = json_faults.words(error)
        raise NotJsonError(
            tr(
                f"{what.en} at character {error.pos + 1} of {len(text)}",
                f"{len(text)} 文字中の {error.pos + 1} 文字目で JSON として読めません ({what.ja})",
            )
        ) from None
    except RecursionError:
        raise NotJsonError(tr(f"nested more than {MAX_DEPTH} deep", f"入れ子が {MAX_DEPTH} 段を超えています")) from None
    except NotJsonError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise NotJsonError(str(error)) from None


def find_json(text: str) -> Any:
    """The first object or list inside other text: a code fence if there is one, else the first that reads.

    NotJsonError if there is none among the first _MAX_STARTS brackets.
    """
    fence = _FENCE.search(text)
    if fence:
        try:
            return read_json(fence[1])
        except NotJsonError:
            pass
    for count, start in enumerate(re.finditer(r"[{\[]", text)):
        if count == _MAX_STARTS:
            break
        try:
            return _checked(_DECODER.raw_decode(text, start.start())[0])
        except NotJsonError:
            raise
        except (ValueError, RecursionError):
            continue
    raise NotJsonError(tr("there is no JSON in the reply", "返答に JSON がありません"))


def read_reply(reply: str, lenient: bool) -> tuple[Any, bool]:
    """(value, extra): the JSON of a reply, and whether other text stood around it.

    With `lenient`, JSON inside a code fence or prose is taken; otherwise it is a NotJsonError that says so.
    """
    try:
        return read_json(reply), False
    except NotJsonError as strict:
        try:
            value = find_json(reply)
        except NotJsonError:
            raise strict from None
        if lenient:
            return value, True
        raise NotJsonError(
            tr("extra text around the JSON (", "JSON の前後に余分な文字があります (") + f"{strict})"
        ) from None


def json_graded(
    reply: str, lenient: bool, judge: Callable[[Any], Grade], zero_parts: Mapping[str, float] | None = None
) -> Grade:
    """`judge` on the reply's value, or 0 with the reason why there is none. Parts always hold `valid_json`.

    `valid_json` is about the strict form even when `lenient` lets extra text pass, so the rate stays comparable.
    """
    try:
        value, extra = read_reply(reply, lenient)
    except NotJsonError as error:
        return Grade(
            0.0, tr("no valid JSON: ", "JSON として不正: ") + str(error), {"valid_json": 0.0, **(zero_parts or {})}
        )
    grade = judge(value)
    return Grade(grade.score, grade.reason, {"valid_json": float(not extra), **grade.parts})


def valid_json(lenient: bool) -> GradeFunction:
    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        return json_graded(reply, lenient, lambda value: Grade(1.0, tr("valid JSON", "有効な JSON")))

    return grade


def json_schema(schema: Schema, lenient: bool) -> GradeFunction:
    """1 when the reply is JSON that the schema accepts, else 0 with the first few violations."""

    def judge(value: Any) -> Grade:
        problems = schema.problems(value)
        if not problems:
            return Grade(1.0, tr("fits the schema", "スキーマに適合"))
        more = f" (+{len(problems) - 3})" if len(problems) > 3 else ""
        return Grade(0.0, "; ".join(problems[:3]) + more)

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        return json_graded(reply, lenient, judge)

    return grade
