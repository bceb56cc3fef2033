"""YAML from a person: every text ends in a value or a YAMLError, soon."""

from __future__ import annotations

import time

import pytest
import yaml

from sodate.core.yaml_files import yaml_value


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
