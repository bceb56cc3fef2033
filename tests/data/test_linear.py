"""Readers look at a byte a few times, however it is made: what took time by the square of its length, or worse.

Each input is so long that work by its square would take many minutes.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sodate.data import read_rows
from sodate.data.jsontext import MAX_ROW_BYTES, elements, parse_object
from sodate.data.ledger import Problem, RowError
from sodate.grade import parse_grader
from sodate.grade.ecma import translate
from sodate.grade.structured import NotJsonError, read_json
from sodate.render import toolcalls


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 20


def codes(path: Path) -> list[str]:
    return [row.code for row in read_rows(path) if isinstance(row, Problem)]


def test_an_open_text_of_escaped_quotes_is_looked_at_once() -> None:
    with pytest.raises(RowError) as caught:
        parse_object(b"[" * 101 + b'"' + b'\\"' * 1_000_000 + b"\\")
    assert caught.value.code == "too-deep"


def test_a_document_of_many_small_lists_is_read_once() -> None:
    document = b'{"rows": 1,' + b'"a":[1],' * 150_000 + b'"z":[{"b":1}, {"c":2}]}'
    assert list(elements(io.BytesIO(document), frozenset())) == [b'{"b":1}', b'{"c":2}']
    document = document[:-23] + b'"z":1}'
    assert list(elements(io.BytesIO(document), frozenset())) == [document]


def test_a_header_of_many_columns_or_of_much_white_space_is_a_header(tmp_path: Path) -> None:
    wide = [f"c{number}" for number in range(100_000)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join([*wide, "c1"]) + "\n" + ",".join("1" for _ in range(100_001)) + "\n")
    (row,) = [row for row in read_rows(path) if not isinstance(row, Problem)]
    assert len(row.data) == 99_999 and "c1" not in row.data and codes(path) == ["left-out"] * 4
    path.write_text("prompt,a" + " " * 1_000_000 + "b,\ufeff \u3000completion \u200b\n1,2,3\n")
    (row,) = [row for row in read_rows(path) if not isinstance(row, Problem)]
    assert next(iter(row.data)) == "prompt" and list(row.data)[2] == "completion"


def test_the_limit_of_a_field_is_set_once_for_the_process() -> None:
    assert csv.field_size_limit() == MAX_ROW_BYTES


def test_a_reply_with_many_keys_twice_is_refused_at_once() -> None:
    pairs = ",".join(f'"k{number}":1' for number in range(200_000))
    with pytest.raises(NotJsonError, match="k199999"):
        read_json("{" + pairs + ',"k199999":1}')


@pytest.mark.parametrize("mark", ["。", ".", "'", "```", "**", "* "])
def test_a_label_behind_many_marks_is_none(mark: str) -> None:
    grade = parse_grader("label")
    assert grade(mark * 50_000 + "Refund" + mark * 50_000, "Refund", {}).score == 0
    assert grade("**「Refund」.**", "Refund", {}).score == 1


@pytest.mark.parametrize("text", [
    " " * 300_000, "<tool_call>{" * 30_000, "<tool_call>{" * 30_000 + "</tool_call>",
    "<tool_call>" * 2_000 + "{" + "</tool_call>" * 2_000,
])  # fmt: skip
def test_a_reply_that_only_begins_calls_is_text(text: str) -> None:
    assert toolcalls.parse(text) == (text, ())


def test_a_class_of_very_many_characters_is_written_at_once() -> None:
    assert translate("[" + "a-c" * 100_000 + "]") == "[" + "a-c" * 100_000 + "]"
    assert translate(r"[a-c\d-]") == r"[a-c0-9\x{2D}]"


def test_calls_between_tags_are_found_with_the_text_around_them() -> None:
    quoting: dict[str, Any] = {"name": "say", "arguments": {"text": "</tool_call>"}}
    text = f"a \n<tool_call> {json.dumps(quoting)}\n</tool_call>b <tool_call>{{}}"
    content, (call,) = toolcalls.parse(text)
    assert content == "ab <tool_call>{}" and json.loads(call.arguments) == {"text": "</tool_call>"}
