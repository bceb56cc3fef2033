"""JSON Schema: drafts, formats, wrappers, and what is said not to be checked. `jsonschema` is the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.errors import UsageError
from sodate.grade import parse_grader
from sodate.grade.schemas import breach, read_schema
from tests.grade.test_grade import schema_file, score

URIS = {
    "draft-04": "http://json-schema.org/draft-04/schema#", "draft-06": "http://json-schema.org/draft-06/schema#",
    "draft-07": "http://json-schema.org/draft-07/schema#", "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")


def reason(spec: str, reply: str, base: Path) -> str:
    return str(parse_grader(spec, base)(reply, None, {}).reason)


def fits(schema: Any, value: Any) -> bool:
    return not read_schema(schema, "s").problems(value)


def test_json_schema_scores_and_names_the_place(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
        "required": ["items"],
        "additionalProperties": False,
        "$defs": {"item": {"type": "object", "properties": {"qty": {"type": "integer", "minimum": 1}}}},
    }
    spec = schema_file(tmp_path, schema)
    assert score(spec, '{"items": [{"qty": 1}]}', base=tmp_path) == 1
    assert "$.items[1].qty" in reason(spec, '{"items": [{"qty": 1}, {"qty": 0}]}', tmp_path)
    assert "'x' was unexpected" in reason(spec, '{"items": [], "x": 1}', tmp_path)
    assert score(spec, '```\n{"items": []}\n```', base=tmp_path) == 0
    assert score(spec + ",lenient=true", '```\n{"items": []}\n```', base=tmp_path) == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 4)
    | st.sampled_from(["", "x", "xy", "b1"])
    | st.sampled_from([0.5, 1.0]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "ab", "b1", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)
ORACLE = {
    "draft-04": jsonschema.Draft4Validator, "draft-06": jsonschema.Draft6Validator,
    "draft-07": jsonschema.Draft7Validator,
    "2019-09": jsonschema.Draft201909Validator, "2020-12": jsonschema.Draft202012Validator,
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(URIS)), VALUES)
def test_every_draft_judges_as_the_library_of_the_standard_does(draft: str, value: Any) -> None:
    schema = {
        "$schema": URIS[draft],
        "properties": {"a": {"pattern": "^x"}, "c": {"enum": [1, "x", None]}},
        "patternProperties": {"b[0-9]": {"type": "integer"}},
        "additionalProperties": {"type": ["string", "array"], "maxLength": 1},
        "items": {"anyOf": [{"minimum": 1}, {"type": "boolean"}]},
        "dependencies" if draft < "2019" or draft.startswith("draft") else "dependentRequired": {"a": ["c"]},
        "not": {"type": "null"},
        "uniqueItems": True,
    }
    assert fits(schema, value) == ORACLE[draft](schema).is_valid(value)


# A schema with one keyword, and a value that it refuses.
REFUSALS: list[tuple[str, Any, Any]] = [
    ("type", "string", 1), ("enum", [1], 2), ("const", 1, 2), ("properties", {"a": {"type": "string"}}, {"a": 1}),
    ("patternProperties", {"^a": {"type": "string"}}, {"ab": 1}), ("additionalProperties", False, {"a": 1}),
    ("required", ["a"], {}), ("minProperties", 1, {}), ("maxProperties", 0, {"a": 1}),
    ("items", {"type": "string"}, [1]),
    ("minItems", 1, []), ("maxItems", 0, [1]), ("uniqueItems", True, [1, 1]), ("minimum", 1, 0), ("maximum", 1, 2),
    ("multipleOf", 2, 3), ("minLength", 1, ""), ("maxLength", 0, "a"), ("pattern", "^a$", "b"), ("format", "date", "b"),
    ("allOf", [{"type": "string"}], 1), ("anyOf", [{"type": "string"}], 1), ("oneOf", [{"type": "string"}], 1),
    ("not", {"type": "string"}, "a"), ("dependencies", {"a": ["b"]}, {"a": 1}), ("$ref", "#/definitions/s", 1),
    ("contains", {"type": "string"}, [1]), ("propertyNames", {"maxLength": 1}, {"ab": 1}),
    ("dependentRequired", {"a": ["b"]}, {"a": 1}), ("dependentSchemas", {"a": {"required": ["b"]}}, {"a": 1}),
    ("unevaluatedProperties", False, {"a": 1}), ("unevaluatedItems", False, [1]),
    ("prefixItems", [{"type": "string"}], [1]),
    ("exclusiveMinimum", 1, 1), ("exclusiveMaximum", 1, 1), ("contentEncoding", "base64", "*"),
    ("contentMediaType", "application/json", "{"),
]  # fmt: skip


@pytest.mark.parametrize("draft", sorted(URIS))
@pytest.mark.parametrize(("keyword", "argument", "value"), REFUSALS)
def test_a_keyword_is_checked_or_said_not_to_be(keyword: str, argument: Any, value: Any, draft: str) -> None:
    if draft == "draft-04" and keyword.startswith("exclusive"):
        pytest.skip("true or false beside minimum in that draft")
    other = "anyOf" if keyword == "oneOf" else "oneOf"  # every document has to ask for something
    anything = {other: [{"title": "any"}, {"not": {}}], "definitions": {"s": {"type": "string"}}}
    schema = read_schema({"$schema": URIS[draft], keyword: argument, **anything}, "s")
    said = any(repr(keyword) in note for note in schema.notes)
    assert said != bool(schema.problems(value))


@pytest.mark.parametrize(("schema", "named"), [
    ({"type": "string", "nullable": True}, "nullable"), ({"type": "string", "minlength": 3}, "minlength"),
    ({"type": "object", "then": {"required": ["a"]}}, "then"),
    ({"type": "object", "if": {"required": ["a"]}}, "if"),
    ({"type": "array", "minContains": 2}, "minContains"),
    ({"$schema": URIS["draft-07"], "type": "array", "additionalItems": False}, "additionalItems"),
    ({"$schema": URIS["draft-07"], "$ref": "#/definitions/a", "minLength": 3, "definitions": {"a": {"type": "string"}}},
     "minLength"),
    ({"type": "string", "format": "phone"}, "phone"),
    ({"properties": {"a": {"type": "string", "format": "color"}}}, "color"),
    ({"type": "string", "contentEncoding": "base64"}, "contentEncoding"),
    ({"$ref": "#/components/A", "components": {"A": {"type": "string", "discriminator": "x"}}}, "discriminator"),
])  # fmt: skip
def test_what_nobody_checks_is_named(schema: Any, named: str, tmp_path: Path) -> None:
    notes = parse_grader(schema_file(tmp_path, schema), tmp_path).notes
    assert any(repr(named) in note and "s.json" in note for note in notes)


def test_what_is_no_demand_is_not_named() -> None:
    said = ("title", "description", "default", "$comment", "deprecated", "readOnly", "x-mine", "examples")
    schema = {"$schema": URIS["2020-12"], "$id": "urn:a", "type": "string", **dict.fromkeys(said, "a")}
    schema |= {"deprecated": False, "readOnly": True, "examples": ["a"], "properties": {"nullable": True}}
    assert read_schema(schema, "s").notes == ()


FORMATS: dict[str, tuple[list[str], list[str]]] = {
    "date": (["2026-03-02"], ["2026-02-30", "20260302", "２０２６-０３-０２", "2026-3-2", "2026-03-02\n", ""]),
    "time": (["10:00:00Z", "10:00:00+09:00"], ["25:00:00Z", "10:00"]), "duration": (["P1D"], ["1D"]),
    "date-time": (["2026-03-02T10:00:00Z"], ["2026-03-02", "2026-03-02 10:00"]),
    "email": (["a@example.com"], ["a@", "@", "a b@example.com"]), "idn-email": (["山@example.jp"], ["山"]),
    "hostname": (["a.example"], ["-a.", "a b"]), "idn-hostname": (["例え.jp"], ["-a"]),
    "ipv4": (["1.2.3.4"], ["256.1.1.1", "1.2.3"]), "ipv6": (["::1"], ["::g"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["x"]),
    "uri": (["https://example.com/a"], ["/a", "a b"]), "uri-reference": (["/a"], ["\\"]),
    "iri": (["https://example.com/あ"], ["あ"]),
    "iri-reference": (["あ"], ["\\"]), "uri-template": (["/{a}"], ["/{a"]), "json-pointer": (["/a", ""], ["a"]),
    "relative-json-pointer": (["1/a"], ["/a"]), "regex": ([r"^\d+$"], ["(", r"\A", "(?P<n>a)"]),
}  # fmt: skip


@pytest.mark.parametrize("draft", sorted(URIS))
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_of_the_standard_is_checked_in_every_draft(name: str, draft: str) -> None:
    schema = read_schema({"$schema": URIS[draft], "format": name}, "s")
    right, wrong = FORMATS[name]
    assert schema.notes == ()
    assert [bool(schema.problems(text)) for text in right] == [False] * len(right)
    assert [bool(schema.problems(text)) for text in wrong] == [True] * len(wrong)
    assert not schema.problems(1)  # formats are about strings


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize("wrapped", [
    {"name": "a", "strict": True, "schema": SCHEMA},
    {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}, {"schema": SCHEMA},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}},
    {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
    {"type": "function", "function": {"name": "a", "description": "b", "parameters": SCHEMA}},
    {"type": "function", "name": "a", "parameters": SCHEMA, "strict": True},
    {"name": "a", "description": "b", "input_schema": SCHEMA},
    {"name": "a", "description": "b", "inputSchema": SCHEMA},
    {"responseSchema": SCHEMA},
])  # fmt: skip
def test_a_schema_is_taken_out_of_what_an_api_wraps_it_in(wrapped: Any, tmp_path: Path) -> None:
    spec = schema_file(tmp_path, wrapped)
    assert score(spec, '{"n": 1}', base=tmp_path) == 1
    assert score(spec, '{"n": "1"}', base=tmp_path) == score(spec, "{}", base=tmp_path) == 0


def test_a_property_called_schema_is_no_wrapper() -> None:
    assert not fits({"type": "object", "properties": {"schema": {"type": "string"}}}, {"schema": 1})
    assert fits({"properties": {"format": {"type": "string"}}}, {"format": "x"})


@pytest.mark.parametrize("document", [
    {}, True, {"title": "Order"}, {"name": "Taro", "age": 3}, {"properties": {}}, {"properties": {"a": {}, "b": True}},
    {"$defs": {"a": {"type": "string"}}}, {"name": "a", "strict": True, "schema": {}}, {"items": {}},
    {"allOf": [{}, True]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"title": "a"}}}, {"minLength": 0, "required": []}, {"description": "A mail"},
    {"name": "a", "schema": {"title": "b"}}, {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}},
    {"if": {"type": "string"}}, {"then": {"type": "string"}, "else": {"minLength": 3}},
    {"type": ["object", "array", "string", "number", "integer", "boolean", "null"]},
])  # fmt: skip
def test_a_document_that_asks_for_nothing_is_refused(document: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="asks for nothing"):
        parse_grader(schema_file(tmp_path, document), tmp_path)


@pytest.mark.parametrize("document", [
    {"properties": {"a": False}}, {"additionalProperties": False}, {"const": 0}, {"enum": [None]}, {"maxItems": 0},
    {"not": {}},
    {"properties": {"a": {"minimum": 0}}}, {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, False,
    {"if": {"type": "string"}, "then": {"minLength": 3}}, {"type": ["object", "array", "string", "number", "null"]},
    {"dependencies": {"a": ["b"]}}, {"allOf": [{}, {"required": ["a"]}]},
])  # fmt: skip
def test_little_is_not_nothing(document: Any) -> None:
    read_schema(document, "s")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "https://example.com/s.json"}, "leaves the document"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "leaves the document"),
        ({"$ref": "#/$defs/none"}, "not a JSON Schema"),
        ({"type": "objekt"}, "not a JSON Schema"),
        ({"minimum": 1, "exclusiveMinimum": True}, r"not a JSON Schema[\s\S]*\$schema names the draft"),
        ({"pattern": "("}, "not a regular expression"),
        ({"patternProperties": {"(?P<a>x)": {"type": "string"}}}, r"not a regular expression[\s\S]*\(\?<name>"),
        ({"$defs": {"a": {"pattern": r"a\Z"}}, "type": "string"}, r"ECMA-262[\s\S]*Write \$ here"),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "type": "string"}, "unknown"),
        ({"$schema": "https://example.com/mine", "type": "string"}, "unknown"),
        ([1], "not an object"),
    ],
)
def test_a_schema_that_is_wrong_or_reaches_out_is_refused(tmp_path: Path, schema: object, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_grader(schema_file(tmp_path, schema), tmp_path)


def test_a_schema_may_use_its_own_ids_and_hold_refs_as_data(tmp_path: Path) -> None:
    schema = {
        "properties": {"$ref": {"const": {"$ref": "http://x"}}, "n": {"$ref": "urn:n"}},
        "$defs": {"n": {"$id": "urn:n", "type": "integer"}},
    }
    spec = schema_file(tmp_path, schema)
    assert score(spec, '{"$ref": {"$ref": "http://x"}, "n": 1}', base=tmp_path) == 1
    assert score(spec, '{"n": "1"}', base=tmp_path) == 0


@pytest.mark.parametrize(("schema", "reply", "score_"), [
    ({"multipleOf": 0.01}, "1e308", 1), ({"multipleOf": 0.1}, "1e300", 1), ({"multipleOf": 3}, "1" + "0" * 400, 0),
    ({"multipleOf": 1e-300}, "1e300", 1), ({"maximum": 10}, "9" * 4000, 0), ({"type": "integer"}, "1e300", 1),
    ({"enum": [1]}, "1.0", 1), ({"const": 10**30}, str(10**30 + 1), 0), ({"type": "string"}, '"\\ud83d"', 0),
    ({"uniqueItems": True}, json.dumps([{"a": i} for i in range(3000)]), 1), ({"multipleOf": 0.01}, "19.99", 1),
    ({"type": "string"}, "NaN", 0), ({"minimum": 0}, "-Infinity", 0), ({"type": "number"}, "1e999", 0),
])  # fmt: skip
def test_numbers_and_texts_that_break_other_checkers_are_judged(
    schema: Any, reply: str, score_: float, tmp_path: Path
) -> None:
    assert score(schema_file(tmp_path, schema), reply, base=tmp_path) == score_


def test_a_schema_of_its_own_kind_ends(tmp_path: Path) -> None:
    spec = schema_file(tmp_path, {"type": "object", "additionalProperties": {"$ref": "#"}})
    assert score(spec, '{"a": {"b": {}}}', base=tmp_path) == 1 and score(spec, '{"a": {"b": 1}}', base=tmp_path) == 0


def test_two_patterns_that_mean_the_same_both_count() -> None:
    schema = {"patternProperties": {"^a-b$": {"type": "string"}, r"^a\-b$": {"maxLength": 1}}}
    assert fits(schema, {"a-b": "x"}) and not fits(schema, {"a-b": "xy"}) and not fits(schema, {"a-b": 1})


# ── what a small document may not do ─────────────────────────────────────────────────────────────────────────────────


def levels(count: int, level: Any, **last: Any) -> dict[str, Any]:
    """A document of `count` levels, each made by `level(number, the reference to the next)`."""
    made = {f"d{n}": level(n, f"#/$defs/d{n + 1}") for n in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**made, f"d{count}": {"type": "object", **last}}}


DOUBLED: dict[str, Any] = {
    "allOf": lambda n, then: {"allOf": [{"$ref": then}, {"$ref": then}]},
    "anyOf": lambda n, then: {"anyOf": [{"$ref": then, "minProperties": 1}, {"$ref": then}]},
    "if": lambda n, then: {"if": {"$ref": then}, "then": {"$ref": then}},
    "one part twice": lambda n, then: {"properties": {"a": {"$ref": then}}, "patternProperties": {"a": {"$ref": then}}},
    "contains": lambda n, then: {"items": {"$ref": then}, "contains": {"$ref": then}},
    "anchors": lambda n, then: {"$anchor": f"a{n}", "oneOf": [{"$ref": f"#a{n + 1}" if n < 39 else then}] * 2},
    "names": lambda n, then: {"$id": f"{n}.json", "oneOf": [{"$ref": f"{n + 1}.json" if n < 39 else "0.json"}] * 2},
}


@pytest.mark.parametrize("how", sorted(DOUBLED))
def test_references_that_double_forty_times_are_refused(how: str) -> None:
    document = levels(40, DOUBLED[how])
    with pytest.raises(UsageError, match="references go too deep or multiply") as caught:
        read_schema(document, "s.json")
    assert caught.value.code == "bad_schema" and "s.json" in str(caught.value)
    assert breach(levels(3, DOUBLED["allOf"]), {}) is None


def test_what_does_not_multiply_may_be_deep_or_wide_or_within_itself() -> None:
    chain = levels(100, lambda n, then: {"$ref": then})
    tree = levels(40, lambda n, then: {"properties": {"a": {"$ref": then}, "b": {"$ref": then}}})
    own = {"type": "object", "anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": [name]} for name in "ab"]}
    wide = {"anyOf": [{"properties": {name: {"type": "string"}}} for name in map(str, range(3_000))]}
    for document in (chain, tree, wide):
        assert fits(document, {"a": {}})
    value: Any = {"b": 1}
    for _ in range(60):
        value = {"a": value}
    assert fits(own, {"a": {"b": 1}}) and fits(own, value) and not fits(own, {"a": {"c": 1}})


def test_a_value_with_very_many_problems_is_told_the_first() -> None:
    schema = read_schema({"items": {"type": "string"}}, "s")
    assert len(schema.problems([1] * 100)) == 100
    (said,) = schema.problems(["a", *[1] * 60_000])
    assert said == '$[1]: 1 is not of type "string"'


def test_thousands_of_objects_are_told_apart() -> None:
    schema = read_schema({"uniqueItems": True}, "s")
    rows: list[Any] = [{"a": number, "b": [number % 7, {"c": None}]} for number in range(20_000)]
    assert schema.problems(rows) == [] and len(schema.problems([*rows, {"b": [6, {"c": None}], "a": 6}])) == 1


@pytest.mark.parametrize(("document", "value", "said"), [
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": 1}, '$.a: 1 is not of type "string"'),
    ({"$schema": "urn:another", "type": "object"}, {}, None), ({}, 1, None), ({"pattern": "^a"}, "a", None),
    ({"$ref": "#/nowhere"}, 1, "nowhere"), ({"pattern": "("}, "a", "regex"), ({"format": "date"}, "x", None),
    ({"pattern": "^(a+)+$"}, "a" * 5_000 + "b", "does not match"),
])  # fmt: skip
def test_a_reply_is_held_to_any_schema(document: Any, value: Any, said: str | None) -> None:
    found = breach(document, value)
    assert found is None if said is None else said in str(found)
