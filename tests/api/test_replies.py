"""Replies to prompts: what reaches the model of what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from sodate.api import replies
from sodate.cli import app, failures


class Asked(Exception):
    """The model was asked for."""


@pytest.mark.parametrize("words", [["--prompt", "q"], ["--data", "rows.jsonl"]])
@pytest.mark.parametrize("date", ["trained", "today"])
def test_generate_tells_the_template_the_day_that_was_asked_for(
    words: list[str], date: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def load(model: str, **options: Any) -> None:
        given.append((model, options))
        raise Asked

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q"}\n')
    monkeypatch.setattr(replies, "load", load)
    monkeypatch.setattr("sodate.cli.at_hand.at_hand", lambda model, quiet=False: model)
    assert failures.run(app, ["generate", "m", *words, "--date", date]) == 1
    assert given == [("m", {"date": date})]
