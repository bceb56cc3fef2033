"""YAML from a person: every text ends in a value or a YAMLError, soon."""

from __future__ import annotations

import time

import pytest
import yaml

from sodate.core.text import Sentence, said_by
from sodate.core.yaml_files import keyless, yaml_value


@pytest.mark.parametrize("text", ["!!timestamp x", "!!bool maybe", "!!float ''", "!!int ''", "2026-02-30", "!!set x"])
def test_a_value_that_is_not_what_its_tag_says_is_malformed(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_value(f"a: {text}")


@pytest.mark.parametrize("number", ["1" + ":1" * 100_000, "0x" + "f" * 5_000, "0b" + "1" * 100_000, "9" * 1_001])
def test_a_number_that_takes_long_or_cannot_be_written_is_refused(number: str) -> None:
    began = time.process_time()
    for text in (f"a: {number}", f"a: !!int '{number}'"):
        with pytest.raises(yaml.YAMLError, match="digits"):
            yaml_value(text)
    assert time.process_time() - began < 2
    assert yaml_value("[1:30, 0x1f, 0o7, -12, 1_000]") == [90, 31, "0o7", -12, 1000]


def test_deep_nesting_is_refused_before_it_takes_long() -> None:
    began = time.process_time()
    for one in ("{ ", "[", "- "):
        with pytest.raises(yaml.YAMLError, match="nested"):
            yaml_value("x: 1\ny:\n  " + one * 4000)
    assert time.process_time() - began < 2
    assert yaml_value("[" * 50 + "]" * 50)


@pytest.mark.parametrize(
    ("text", "english", "japanese"),
    [
        ("\tbaseline: x\n", "line 1, column 1: a tab", "1 行目の 1 文字目: タブがあります"),
        ("target: [label\n", "a bracket that is not closed", "括弧が閉じていない"),
        ("a: b: c\n", "a colon where none can be", "コロンは置けません"),
        ("a: 1\nb\nc: 2\n", "a key without a colon", "コロンと空白がありません"),
        ("a: 1\nb：2\nc: 3\n", "its colon is full width", "コロンが全角です"),
        ("a:\n  b: 1\n c: 2\n", "the indentation differs", "字下げが前の行とそろっていません"),
        ('a: "open\n', "a quote that is not closed", "引用符が閉じていません"),
        ("a: @home\n", "stands in quotes", "引用符で囲みます"),
    ],
)
def test_a_common_fault_is_told_in_one_line_of_each_language(text: str, english: str, japanese: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        yaml_value(text)
    said = said_by(caught.value)
    assert isinstance(said, Sentence) and english in said.en and japanese in said.ja
    assert "\n" not in said.en + said.ja


def test_a_text_where_keys_are_wanted_says_what_is_wrong_with_its_colons() -> None:
    assert "全角" in keyless("baseline：x").ja
    assert "a space is missing" in keyless("baseline:x").en
    assert keyless(["x"]).en == keyless(None).en == "it has no keys"
