"""Uploaded training files: what is said of rows far down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sodate.api import uploaded
from sodate.core.errors import SodateError

ROW = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
NO_REPLY = {"messages": [{"role": "user", "content": "a"}]}


@pytest.fixture(autouse=True)
def five_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploaded, "DEEP", 5)


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def test_later_rows_are_counted_and_what_is_wrong_with_an_early_one_is_said(tmp_path: Path) -> None:
    lines = [json.dumps(NO_REPLY if n == 2 else ROW) for n in range(40)]
    found = uploaded.examine(written(tmp_path / "a.jsonl", [*lines[:9], "", *lines[9:]]))
    assert (found.rows, found.format, found.line) == (40, "openai-chat", 3)


@pytest.mark.parametrize(
    "broken", ['{"messages": [', "[1]", '"text"', '{"a": NaN}', '{"a": "\\ud800"}', "{}\x00", '{"a": 1} {"b": 2}']
)
def test_a_later_line_that_is_no_object_is_named(broken: str, tmp_path: Path) -> None:
    lines = [json.dumps(ROW)] * 30
    lines[21] = broken
    with pytest.raises(SodateError, match="22") as refused:
        uploaded.examine(written(tmp_path / "a.jsonl", lines))
    assert refused.value.code == "invalid_line"
