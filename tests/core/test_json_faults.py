"""What is wrong with JSON is said in the reader's language, whatever Python's reader stumbles over."""

from __future__ import annotations

import json
import re

import pytest

from sodate.core import json_faults


@pytest.mark.parametrize(
    "text",
    ["", "{1}", '{"a" 1}', '{"a": 1 "b": 2}', '"', '"\n"', '"\\q"', '"\\u12"', "1 2", "[1,]", '{"a": 1,}', "\ufeff1"],
)
def test_every_fault_has_its_japanese(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    said = json_faults.said(caught.value)
    assert said.en.startswith(caught.value.msg.removesuffix(": ")) and re.search(r"line \d+ column \d+$", said.en)
    assert not re.search("Expecting|Invalid|Unterminated|Extra|Illegal|Unexpected", said.ja)
    assert said.ja.endswith(f"（{caught.value.lineno} 行目の {caught.value.colno} 文字目）")


def test_another_exception_is_told_as_it_is() -> None:
    assert json_faults.said(ValueError("too deep")).ja == "too deep"


def test_a_line_of_a_file_is_named_by_its_number_there() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{1}")
    assert json_faults.said(caught.value, 9).ja.endswith("（9 行目の 2 文字目）")
