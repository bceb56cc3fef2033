"""Replies to prompts: what reaches the model of what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sodate.api import replies
from sodate.cli import app, failures
from sodate.core.errors import UsageError


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
    monkeypatch.setattr("sodate.cli.at_hand.at_hand", lambda model, *_, **__: model)
    assert failures.run(app, ["generate", "m", *words, "--date", date]) == 1
    assert given == [("m", {"date": date, "engine": "torch"})]


def test_prompts_of_a_file_have_the_system_text_before_them_and_bad_rows_are_said(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": null}\n{"prompt": "two"}\n{"prompt": "three"}\n')
    said: list[int] = []
    found = replies.prompts(file, system="S", limit=2, on_problem=lambda problem: said.append(problem.line))
    assert [[message.content for message in one.messages] for one in found] == [["S", "one"], ["S", "two"]]
    assert [one.line for one in found] == [1, 3] and said == [2]


def test_several_samples_without_a_temperature_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        replies.replies("m", [replies.prompt("q", None)], samples=2, temperature=0.0)
    assert refused.value.param == "temperature"
