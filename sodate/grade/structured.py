"""Replies that are JSON: strict reading, and validation against a schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.patterns import check_pattern, found
from sodate.grade.strings import clip

MAX_DEPTH = 64
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_MAX_STARTS = 50


class NotJsonError(ValueError):
    """The text is no JSON document; the message says why."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
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


def _depth_checked(value: Any) -> Any:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise NotJsonError(tr(f"nested more than {MAX_DEPTH} deep", f"入れ子が {MAX_DEPTH} 段を超えています"))


def read_json(text: str) -> Any:
    """The JSON value that is the whole of `text`, white space around it apart.

    Stricter than Python's reader: NaN, infinities, numbers beyond a double, a key given twice and nesting deeper than
    MAX_DEPTH are refused with NotJsonError.
    """
    try:
        return _depth_checked(_DECODER.decode(text))
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NotJsonError(tr("the reply is empty", "返答が空です")) from None
        raise NotJsonError(
            tr(
                f"{error.msg} at character {error.pos + 1} of {len(text)}",
                f"{len(text)} 文字中の {error.pos + 1} 文字目で JSON として読めません ({error.msg})",
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
            return _depth_checked(_DECODER.raw_decode(text, start.start())[0])
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


# Values under these keywords are data, not schemas: a "$ref" in there refers to nothing.
_DATA_KEYWORDS = {"const", "enum", "default", "examples"}


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema document that may be a schema, the outermost first."""
    if isinstance(node, dict):
        yield node
        for key, inner in node.items():
            if key not in _DATA_KEYWORDS:
                yield from _schemas(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _schemas(inner)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str) and not found(pattern, instance):
        yield ValidationError(f"{clip(instance)!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for key, value in instance.items():
                if found(pattern, key):
                    yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for key, value in instance.items():
        if key in schema.get("properties", {}) or any(found(pattern, key) for pattern in patterns):
            continue
        if inner is False:
            yield ValidationError(f"the key {clip(key)!r} is not allowed")
        else:
            yield from validator.descend(value, inner, path=key)


def load_schema(path: Path) -> Any:
    """A Draft 2020-12 validator that reads nothing but this file and whose patterns are time-limited.

    UsageError for a file that is missing or no schema, a `$ref` that leaves the file, a bad pattern, and for
    `unevaluatedProperties` beside `patternProperties` (the library would match those patterns without a limit).
    """
    import jsonschema
    from referencing import Registry

    try:
        schema = read_json(path.read_text("utf-8-sig"))
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except FileNotFoundError:
        raise UsageError(
            tr(f"The schema {path} is missing.", f"スキーマ {path} がありません。"),
            code="file_missing",
            param="grader",
            file=path,
        ) from None
    except (OSError, ValueError, jsonschema.SchemaError) as error:
        why = error.message if isinstance(error, jsonschema.SchemaError) else str(error)
        raise UsageError(
            tr(
                f"{path} is no JSON Schema (2020-12): {why}.",
                f"{path} は JSON Schema (2020-12) として読めません: {why}",
            ),
            code="bad_schema",
            param="grader",
            file=path,
        ) from None
    parts = list(_schemas(schema))
    known = {part["$id"] for part in parts if isinstance(part.get("$id"), str)}
    for part in parts:
        for keyword in ("$ref", "$dynamicRef"):
            target = part.get(keyword)
            if isinstance(target, str) and not target.startswith("#") and target.partition("#")[0] not in known:
                raise UsageError(
                    tr(
                        f"{path}: {keyword} {target!r} leaves the file.",
                        f"{path}: {keyword} {target!r} はファイルの外を指しています。",
                    ),
                    tr(
                        "Copy what it points to into $defs; nothing is fetched.",
                        "参照先を $defs に写してください。外部からの取得は行いません。",
                    ),
                    code="bad_schema",
                    param="grader",
                    file=path,
                )
        patterns = part.get("patternProperties")
        for pattern in [part.get("pattern"), *(patterns if isinstance(patterns, dict) else [])]:
            if isinstance(pattern, str):
                check_pattern(pattern, str(path))
    if any("unevaluatedProperties" in part for part in parts) and any("patternProperties" in part for part in parts):
        raise UsageError(
            tr(
                f"{path}: unevaluatedProperties together with patternProperties is not supported.",
                f"{path}: unevaluatedProperties と patternProperties の併用には対応していません。",
            ),
            code="bad_schema",
            param="grader",
            file=path,
        )
    safe = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        },
    )
    return safe(schema, registry=Registry())


def json_schema(path: Path, lenient: bool) -> GradeFunction:
    """1 when the reply is JSON that the schema accepts, else 0 with the first few violations."""
    validator = load_schema(path)

    def judge(value: Any) -> Grade:
        errors = sorted(validator.iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path])
        if not errors:
            return Grade(1.0, tr("fits the schema", "スキーマに適合"))
        said = [f"{error.json_path}: {clip(error.message, 120)}" for error in errors[:3]]
        more = f" (+{len(errors) - 3})" if len(errors) > 3 else ""
        return Grade(0.0, "; ".join(said) + more)

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        return json_graded(reply, lenient, judge)

    return grade
