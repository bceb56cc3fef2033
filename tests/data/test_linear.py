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
from sodate.data.cells import unfolded
from sodate.data.jsontext import MAX_ROW_BYTES, elements, parse_object
from sodate.data.ledger import Problem, RowError
from sodate.grade import parse_grader
from sodate.grade.ecma import NotEcmaError, translate
from sodate.grade.maths import answers
from sodate.grade.structured import NotJsonError, read_json
from sodate.render import toolcalls
from sodate.retrieve.context import cited
from sodate.retrieve.documents import read_document
from sodate.retrieve.index import folded, phrases_of
from sodate.retrieve.passages import Section, passages


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


@pytest.mark.parametrize("pattern", ["[" * 100_000, "(?<" * 100_000, "(?<a" * 100_000, r"[\\" * 100_000])
def test_an_expression_that_only_opens_is_none(pattern: str) -> None:
    with pytest.raises(NotEcmaError):
        translate(pattern)


@pytest.mark.parametrize("space", ["\n", " ", "\n: "])
def test_an_answer_that_is_announced_and_does_not_come_is_looked_for_once(space: str) -> None:
    grade = parse_grader("math")
    assert grade("The answer is:" + space * 30_000, "12", {}).score == 0
    assert grade("The answer is:" + space * 30 + "12", "12", {}).score == 1


def test_a_sign_that_stands_in_very_many_numbers_is_looked_for_in_the_one_it_stands_in() -> None:
    grade = parse_grader("honest")
    dates = "2026-01-31 " * 40_000
    assert grade(dates, "-", {}).score == 0
    assert grade(dates + " - ", "-", {}).score == 1


def test_lists_in_lists_are_aligned_within_bounds() -> None:
    rows = json.dumps([[[str(number) for number in range(20)] for _ in range(20)] for _ in range(50)])
    assert parse_grader("fields")(rows, rows, {}).score == 1
    long = json.dumps([f"{number} " + "x" * 50_000 for number in range(90)])
    assert parse_grader("fields")(long, long, {}).score == 1


def test_rows_of_a_table_cost_their_own_length_and_not_the_headers(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("prompt,completion" + "," * 50_000 + "\n" + "a,b\n" * 20_000)
    assert sum(not isinstance(row, Problem) for row in read_rows(path)) == 20_000
    path.write_text("prompt,completion," + ",".join(map(str, range(50_000))) + "\n" + "a,b\n" * 20_000)
    assert codes(path) == ["wrong-columns"] * 20_000


def test_a_heading_of_much_white_space_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# a" + " " * 100_000 + "b\ntext\n" + "# ## C  ##  \nmore\n")
    found = read_document(path, lambda code, said: None)
    assert [section.titles[-1] for section in found] == ["a" + " " * 100_000 + "b", "## C"]


def test_elements_within_elements_of_a_page_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<p>text" + "<svg>" * 300_000 + "<p>drawn" + "</svg>" * 300_000 + "<p>more")
    (section,) = read_document(path, lambda code, said: None)
    assert section.text == "text\nmore"


def test_calls_between_tags_are_found_with_the_text_around_them() -> None:
    quoting: dict[str, Any] = {"name": "say", "arguments": {"text": "</tool_call>"}}
    text = f"a \n<tool_call> {json.dumps(quoting)}\n</tool_call>b <tool_call>{{}}"
    content, (call,) = toolcalls.parse(text)
    assert content == "ab <tool_call>{}" and json.loads(call.arguments) == {"text": "</tool_call>"}


@pytest.mark.parametrize("mark", ["山", "!", "。", "a", " \t"])
def test_a_sentence_that_does_not_end_is_cut_as_it_goes(mark: str) -> None:
    text = mark * 500_000
    made = list(passages("long.txt", [Section(text, "")]))
    assert "".join(one.text for one in made) == text.strip()


def test_marks_quotations_and_cells_of_much_white_space_are_looked_for_once() -> None:
    assert cited("\t" * 1_000_000 + "x", None) == "\t" * 1_000_000 + "x"
    assert cited("so it is \t [*].", None) == "so it is."
    assert phrases_of("「" * 60_000) == []
    assert phrases_of("「返品は30日」") == [folded("返品は30日")]
    assert unfolded({"prompt": " " * 1_000_000, "chosen": "x"})["chosen"] == "x"
    assert answers("\\boxed{1}" + " " * 300_000 + "and 2")
    assert parse_grader("citations")(" \n" * 300_000 + "[1]", "", {}).score == 0
