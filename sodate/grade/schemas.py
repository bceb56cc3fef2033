"""JSON Schema, drafts 4 to 2020-12: what a document asks for is checked, or said by name not to be.

The draft is the one that `$schema` names, 2020-12 without it. Patterns are ECMA-262 (`sodate/grade/ecma.py`). Every
format of 2020-12 is checked in every draft. Nothing outside the document is read.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.grade.ecma import NotEcmaError, translate
from sodate.grade.growth import MAX_VISITS, entries, visits
from sodate.grade.patterns import ENGINE, checked, gave_up
from sodate.grade.strings import clip

MAX_PROBLEMS = 1000  # looked at, of one document; three are told
MAX_CHECKS = 50_000  # of schemas against values, so that problems are collected: each has some kilobytes


DRAFTS = {
    "json-schema.org/draft-04/schema": "draft-04", "json-schema.org/draft-06/schema": "draft-06",
    "json-schema.org/draft-07/schema": "draft-07", "json-schema.org/draft/2019-09/schema": "2019-09",
    "json-schema.org/draft/2020-12/schema": "2020-12", "json-schema.org/schema": "2020-12",
}  # fmt: skip
_ORDER = list(dict.fromkeys(DRAFTS.values()))

# Keywords that ask for something, and the first and the last draft that has them ("" is all).
_ALWAYS = {
    "type", "enum", "properties", "patternProperties", "additionalProperties", "required", "minProperties",
    "maxProperties", "items", "minItems", "maxItems", "uniqueItems", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "allOf", "anyOf", "oneOf",
    "not", "dependencies", "$ref",
}  # fmt: skip
_SOMETIMES = {
    "additionalItems": ("draft-04", "2019-09"),
    **dict.fromkeys(("const", "contains", "propertyNames"), ("draft-06", "2020-12")),
    **dict.fromkeys(("if", "then", "else"), ("draft-07", "2020-12")),
    **dict.fromkeys(("contentEncoding", "contentMediaType"), ("draft-06", "draft-07")),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties",
                     "minContains", "maxContains"), ("2019-09", "2020-12")),
    "$recursiveRef": ("2019-09", "2019-09"),
    **dict.fromkeys(("prefixItems", "$dynamicRef"), ("2020-12", "2020-12")),
}  # fmt: skip
# What says something about a schema without asking for anything.
_ANNOTATIONS = {
    "$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$defs", "definitions", "$comment",
    "$vocabulary", "title", "description", "default", "example", "examples", "readOnly", "writeOnly", "deprecated",
}  # fmt: skip
_PARTNERS = {"then": "if", "else": "if", "minContains": "contains", "maxContains": "contains"}
# Values that ask for nothing.
_NOTHING = {"minLength": 0, "minItems": 0, "minProperties": 0, "minContains": 0, "uniqueItems": False, "required": [],
            "dependentRequired": {}, "pattern": ""}  # fmt: skip
# Where schemas stand in a schema: as a value, in a list, in an object by name.
_ONE = {
    "additionalProperties", "additionalItems", "items", "contains", "propertyNames", "if", "then", "else", "not",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
}  # fmt: skip
_LISTS = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_NAMED = {"properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"}
_DEFINITIONS = {"$defs", "definitions"}
_CHOICE = {"if", "then", "else"}
_TYPES = {"object", "array", "string", "number", "boolean", "null"}  # an integer is a number

# Members of an object that only carries a schema, as APIs want it; the schema is under one of the second.
_WRAPPER = {"name", "strict", "description", "type", "title"}
_CARRIERS = (
    "response_format", "text", "format", "json_schema", "jsonSchema", "schema", "function", "parameters",
    "input_schema", "inputSchema", "response_schema", "responseSchema",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schema:
    """`notes` name what the document says and nobody checks. `patterns` are as written, by their translation.

    `visits`: how many schemas a value meets at most.
    """

    validator: jsonschema_rs.Validator
    notes: tuple[str, ...]
    patterns: Mapping[str, str]
    visits: int

    def problems(self, value: Any) -> list[str]:
        """A line for each place where a JSON value breaks the schema, in the order of the places; [] when it fits.

        Of a value with very many places the first alone.
        """
        try:
            if self.validator.is_valid(value):
                return []
            if entries(value) * self.visits > MAX_CHECKS:
                errors = [_first(self.validator, value)]
            else:
                errors = list(itertools.islice(self.validator.iter_errors(value), MAX_PROBLEMS))
        except (ValueError, TypeError, OverflowError) as error:  # a value that the engine can't take in
            return [tr(f"can't be checked: {error}", f"照合できません: {error}")]
        errors.sort(key=lambda error: [str(part) for part in error.instance_path])
        return [f"{_path(error.instance_path)}: {clip(self._said(error), 120)}" for error in errors]

    def _said(self, error: jsonschema_rs.ValidationError) -> str:
        pattern = getattr(error.kind, "pattern", None) or str(error.schema_path[-1:] or "")
        if gave_up(error):
            return tr(
                "a pattern could not be searched for within its limit", "パターンの照合が制限内に終わりませんでした"
            )
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern):
            written = self.patterns.get(pattern, pattern)
            return tr(f"{json.dumps(error.instance, ensure_ascii=False)} does not match {written!r}",
                      f"{json.dumps(error.instance, ensure_ascii=False)} が {written!r} に合いません")  # fmt: skip
        return error.message


def _first(validator: jsonschema_rs.Validator, value: Any) -> jsonschema_rs.ValidationError:
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    raise ValueError("it fits")  # is_valid said that it doesn't


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def read_schema(document: Any, where: str) -> Schema:
    """A schema document, ready to check values. `where` names it in messages.

    UsageError for what is no schema, has an unknown `$schema`, a `$ref` that leaves the document, a pattern that is not
    ECMA-262, or asks for nothing at all. Wrappers such as {"name", "strict", "schema"} are taken off.
    """
    document = unwrapped(json.loads(json.dumps(document)))
    draft = _draft(document, where)
    nodes = [node for node in _nodes(document) if isinstance(node, dict)]
    _refuse_leaving(nodes, where)
    notes = list(dict.fromkeys(note for node in nodes for note in _unchecked(node, draft)))
    formats: dict[str, Callable[[str], bool]] = {"regex": _is_pattern}
    for name in dict.fromkeys(node["format"] for node in nodes if isinstance(node.get("format"), str)):
        if _knows_format(name, draft) or name == "regex":
            continue
        if _knows_format(name, "2020-12"):
            formats[name] = jsonschema_rs.validator_for({"format": name}, validate_formats=True).is_valid
        else:
            notes.append(tr(f"the format {name!r} is not checked", f"format {name!r} は検査されません"))
    patterns = _translate_patterns(nodes, where)
    counted = bounded(document, where, "grader")
    try:
        validator = jsonschema_rs.validator_for(
            document, formats=formats, validate_formats=True, offline=True, pattern_options=ENGINE
        )
    except ValueError as error:
        place = _path(error.instance_path) + ": " if isinstance(error, jsonschema_rs.ValidationError) else ""
        said = error.message if isinstance(error, jsonschema_rs.ValidationError) else str(error)
        raise UsageError(
            tr(f"{where} is not a JSON Schema ({draft}): {place}{said}",
               f"{where} は JSON Schema ({draft}) として読めません: {place}{said}"),
            tr("$schema names the draft; without it 2020-12 is meant.",
               "ドラフトは $schema で指定します。なければ 2020-12 とみなします。"),
            code="bad_schema", param="grader",
        ) from None  # fmt: skip
    if not any(_asks(node, draft) for node in _nodes(document, definitions=False)):
        raise UsageError(
            tr(f"{where} asks for nothing: every JSON value fits it.",
               f"{where} には制約がなく、どんな JSON でも適合します。"),
            tr('A schema has keywords such as "type", "properties" and "required".',
               'スキーマには "type"、"properties"、"required" などを書いてください。'),
            code="bad_schema", param="grader",
        )  # fmt: skip
    return Schema(validator, tuple(tr(f"{where}: ", f"{where}: ") + note for note in notes), patterns, counted)


def bounded(document: Any, where: str, param: str, code: str = "bad_schema") -> int:
    """How many schemas a value meets at most; UsageError, naming `where`, for a document with too many."""
    try:
        counted = visits(document, _pointed)
    except RecursionError:
        counted = MAX_VISITS + 1
    if counted > MAX_VISITS:
        raise UsageError(
            tr(f"{where}: its references go too deep or multiply: one value would be checked against more than "
               f"{MAX_VISITS} schemas.",
               f"{where}: 参照が深すぎるか掛け合わさり、1 つの値と照合するスキーマが {MAX_VISITS} 個を超えます。"),
            tr("Refer to a schema once at each level.", "同じ階層からの参照は 1 回にしてください。"),
            code=code, param=param,
        )  # fmt: skip
    return counted


def breach(document: Any, value: Any) -> str | None:
    """What about a JSON value does not fit a schema, which need not be one for grading; None if it fits."""
    if isinstance(document, dict) and document.get("$schema") is not None and _named_draft(document) is None:
        document = {key: inner for key, inner in document.items() if key != "$schema"}
    try:
        validator = jsonschema_rs.validator_for(document, offline=True, pattern_options=ENGINE)
    except ValueError as error:  # a reference that leads nowhere, a pattern that is none
        return f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return f"{_path(error.instance_path)}: {error.message}"
    except (ValueError, TypeError, OverflowError) as error:
        return str(error)
    return None


def unwrapped(document: Any) -> Any:
    """The schema in what APIs call a format or a function, such as {"type": "json_schema", "json_schema": {…}}."""
    while isinstance(document, dict) and set(document) <= _WRAPPER | set(_CARRIERS):
        inner = next((document[key] for key in _CARRIERS if isinstance(document.get(key), dict)), None)
        if inner is None:
            break
        document = inner
    return document


def _draft(document: Any, where: str) -> str:
    if not isinstance(document, dict | bool):
        raise UsageError(tr(f"{where} is not a JSON Schema: it is not an object.",
                            f"{where} は JSON Schema ではありません (オブジェクトではありません)。"),
                         code="bad_schema", param="grader")  # fmt: skip
    named = document.get("$schema") if isinstance(document, dict) else None
    draft = _named_draft(document)
    if draft is None:
        raise UsageError(
            tr(f"{where}: $schema {named!r} is unknown.", f"{where}: $schema {named!r} には対応していません。"),
            tr("Known drafts: ", "対応しているドラフト: ") + ", ".join(_ORDER),
            code="bad_schema",
            param="grader",
        )
    return draft


def _named_draft(document: Any) -> str | None:
    """The draft that `$schema` names, 2020-12 without it; None for one that is not known."""
    named = (
        document.get("$schema", "json-schema.org/schema") if isinstance(document, dict) else "json-schema.org/schema"
    )
    return DRAFTS.get(str(named).removeprefix("https://").removeprefix("http://").removesuffix("#"))


def _nodes(document: Any, definitions: bool = True) -> Iterator[dict[str, Any] | bool]:
    """The schemas of a document, the outermost first, each object once; `$ref`s into odd places are followed.

    Without `definitions`, only those that a value meets: definitions that nothing refers to are left out, and an `if`
    that nothing follows from.
    """
    waiting, seen = deque([document]), set[int]()
    while waiting:
        node = waiting.popleft()
        if isinstance(node, bool):
            yield node
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        for key, value in node.items():
            if not definitions and key in _CHOICE and ("if" not in node or len(_CHOICE & node.keys()) < 2):
                continue
            if key in _LISTS and isinstance(value, list):
                waiting += value
            elif key in _ONE:
                waiting.append(value)
            elif key in _NAMED and isinstance(value, dict) and (definitions or key not in _DEFINITIONS):
                waiting += value.values()
            elif key == "$ref" and isinstance(value, str) and value.startswith("#"):
                waiting.append(_pointed(document, value[1:]))


def _pointed(document: Any, pointer: str) -> Any:
    """What a JSON Pointer in a fragment (RFC 6901, 6) means in a document; None where it means nothing."""
    pointer = re.sub(
        "(?:%[0-9A-Fa-f]{2})+",
        lambda hexes: bytes.fromhex(hexes[0].replace("%", "")).decode("utf-8", "replace"),
        pointer,
    )
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _checked_in(keyword: str, draft: str) -> bool:
    if keyword in _ALWAYS:
        return True
    first, last = _SOMETIMES.get(keyword, ("", ""))
    return bool(first) and _ORDER.index(first) <= _ORDER.index(draft) <= _ORDER.index(last)


def _asks(node: dict[str, Any] | bool, draft: str) -> bool:
    """Whether a schema refuses anything by itself; the schemas in it are asked on their own."""
    if isinstance(node, bool):
        return not node
    for key, value in node.items():
        holds = key in _ONE | _LISTS | _NAMED and key not in ("not", "contains")
        here = isinstance(value, str) and value.startswith("#") and key == "$ref"  # where it leads is asked, too
        if key == "type" and isinstance(value, list) and set(value) >= _TYPES:
            continue
        if _checked_in(key, draft) and not holds and not here and (key not in _NOTHING or value != _NOTHING[key]):
            return True
        if key == "dependencies" and isinstance(value, dict) and any(isinstance(one, list) for one in value.values()):
            return True
    return False


def _unchecked(node: dict[str, Any], draft: str) -> Iterator[str]:
    """Keywords of a schema that say something which nobody checks."""
    before_2019 = _ORDER.index(draft) < _ORDER.index("2019-09")
    for key in node:
        if key in _ANNOTATIONS or key.startswith("x-"):
            continue
        if not _checked_in(key, draft):
            yield tr(f"the keyword {key!r} is not checked: {draft} doesn't have it",
                     f"キーワード {key!r} は {draft} にないため検査されません")  # fmt: skip
        elif "$ref" in node and before_2019 and key != "$ref":
            yield tr(f"{key!r} is not checked: {draft} ignores what is beside $ref",
                     f"{draft} では $ref と並ぶ {key!r} は無視され、検査されません")  # fmt: skip
        elif key == "if" and not {"then", "else"} & node.keys():
            yield tr("'if' is not checked: it says nothing without 'then' or 'else'",
                     "'if' は 'then' か 'else' がないと意味を持たず、検査されません")  # fmt: skip
        elif key in _PARTNERS and _PARTNERS[key] not in node:
            yield tr(f"{key!r} is not checked: it says nothing without {_PARTNERS[key]!r}",
                     f"{key!r} は {_PARTNERS[key]!r} がないと意味を持たず、検査されません")  # fmt: skip
        elif key == "additionalItems" and not isinstance(node.get("items"), list):
            yield tr("'additionalItems' is not checked: it says nothing without a list of 'items'",
                     "'additionalItems' は 'items' がリストでないと意味を持たず、検査されません")  # fmt: skip


def _knows_format(name: str, draft: str) -> bool:
    schema = {"$schema": next(uri for uri, known in DRAFTS.items() if known == draft), "format": name}
    schema["$schema"] = ("https://" if "/draft/" in schema["$schema"] else "http://") + schema["$schema"]
    try:
        jsonschema_rs.validator_for(schema, validate_formats=True, ignore_unknown_formats=False)
    except jsonschema_rs.ValidationError:
        return False
    return True


def _is_pattern(text: str) -> bool:
    try:
        translate(text)
    except NotEcmaError:
        return False
    return True


def _refuse_leaving(nodes: list[dict[str, Any]], where: str) -> None:
    """UsageError for a reference to another document."""
    known = {node[key] for node in nodes for key in ("$id", "id") if isinstance(node.get(key), str)}
    for node in nodes:
        for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            target = node.get(keyword)
            if isinstance(target, str) and not target.startswith("#") and target.partition("#")[0] not in known:
                raise UsageError(
                    tr(f"{where}: {keyword} {target!r} leaves the document.",
                       f"{where}: {keyword} {target!r} は文書の外を指しています。"),
                    tr("Copy what it points to into $defs; nothing is fetched.",
                       "参照先を $defs に写してください。外部からの取得は行いません。"),
                    code="bad_schema", param="grader",
                )  # fmt: skip


def _translate_patterns(nodes: list[dict[str, Any]], where: str) -> dict[str, str]:
    """Writes every pattern of a document as the engine does, in place; returns what they were, by translation."""
    written: dict[str, str] = {}

    def engine(pattern: str) -> str:
        translated = checked(pattern, where)
        written[translated] = pattern
        return translated

    for node in nodes:
        if isinstance(node.get("pattern"), str):
            node["pattern"] = engine(node["pattern"])
        named = node.get("patternProperties")
        if isinstance(named, dict):
            both: dict[str, list[Any]] = {}  # two patterns may mean the same
            for pattern, inner in named.items():
                both.setdefault(engine(pattern), []).append(inner)
            node["patternProperties"] = {key: one[0] if len(one) == 1 else {"allOf": one} for key, one in both.items()}
    return written
