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


def test_deep_nesting_is_refused_before_it_takes_long() -> None:
    began = time.process_time()
    for one in ("{ ", "[", "- "):
        with pytest.raises(yaml.YAMLError, match="nested"):
            yaml_value("x: 1\ny:\n  " + one * 4000)
    assert time.process_time() - began < 2
    assert yaml_value("[" * 50 + "]" * 50)
