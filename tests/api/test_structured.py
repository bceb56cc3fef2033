"""The schema that replies are held to: what would pass unenforced is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.api.structured import schema_in
from sodate.core.errors import UsageError

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def given(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


@pytest.mark.parametrize(
    "document",
    [
        SCHEMA,
        {"name": "order", "strict": True, "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA}},
        {"type": "function", "function": {"name": "order", "parameters": SCHEMA}},
    ],
)
def test_wrappers_are_taken_off(tmp_path: Path, document: Any) -> None:
    assert schema_in(given(tmp_path, document)) == SCHEMA


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"title": "Order"}, "asks for nothing"),
        ({"Type": "object"}, "asks for nothing"),
        (True, "asks for nothing"),
        ([SCHEMA], "not an object"),
        ({**SCHEMA, "minlength": 3}, "minlength"),
        ({"type": "string", "format": "postcode"}, "postcode"),
        ({"type": "string", "pattern": "^a\\Z"}, "Z"),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, "exclusiveMinimum"),
    ],
)
def test_a_demand_that_nobody_would_enforce_is_refused(tmp_path: Path, document: Any, said: str) -> None:
    path = given(tmp_path, document)
    with pytest.raises(UsageError, match=said) as refused:
        schema_in(path)
    assert refused.value.param == "schema"
