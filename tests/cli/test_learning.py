"""`sodate logs` and `sodate learn` as others script against them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.cli import app, failures
from tests.learn.made import exchange, keep


@pytest.fixture
def sodate(home: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; (its status, the document that it printed)."""

    def run(*words: str) -> tuple[int, Any]:
        status = failures.run(app, [*words, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


def test_a_month_by_the_command_line(sodate: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Falcon\n鈴木商店\n", "cp932")
    status, rules = sodate("logs", "set", "on", "--words", str(tmp_path / "words.txt"), "--grader", "json")
    assert status == 0 and rules["words"] == ["Falcon", "鈴木商店"] and rules["graders"] == ["json"]
    keep(exchange("chatcmpl-1", user="taro"), exchange("chatcmpl-2", "Price?", confidence=0.1))
    listed = sodate("logs", "list", "--user", "taro")[1]
    assert [one["id"] for one in listed["exchanges"]] == ["chatcmpl-1"] and listed["mode"] == "on"
    assert sodate("logs", "feedback", "chatcmpl-1", "--sent", "Three days.")[1]["correction"] == "Three days."
    assert sodate("logs", "show", "chatcmpl-1")[1]["feedback"][0]["correction"] == "Three days."
    told = sodate("learn", "failures")[1]
    assert [one["id"] for one in told["failures"]] == ["chatcmpl-1", "chatcmpl-2"]
    found = sodate("learn", "clusters")[1]
    assert found["failures"] == 2
    review = sodate("learn", "review", "--reviewer", "aoki")[1]
    assert {one["id"] for one in review["queue"]} == {"chatcmpl-1", "chatcmpl-2"}
    assert review["failure_rate"] == {"n": 0, "failed": 0, "rate": None, "ci": None, "skipped": 0}
    sheet = tmp_path / "sheet.jsonl"
    assert sodate("learn", "review", "--reviewer", "aoki", "--export", str(sheet))[1]["rows"] == 2
    rows = [json.loads(line) | {"decision": "accept"} for line in sheet.read_text("utf-8").splitlines()]
    sheet.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert sodate("learn", "review", "--reviewer", "aoki", "--import", str(sheet))[1]["decisions"] == 2
    assert sodate("learn", "examples", str(tmp_path / "rows.jsonl"))[1]["rows"] == 2
    forgotten = sodate("logs", "forget", "--user", listed["exchanges"][0]["user"])[1]
    assert forgotten["exchanges"] == 1 and forgotten["files"] == [str(tmp_path / "rows.jsonl")]
    assert sodate("logs", "sweep", "--older-than", "0", "--project", "default") == (0, {"deleted": 1})


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["logs", "show", "chatcmpl-none"], "not_found"),
        (["logs", "feedback", "chatcmpl-none", "--thumb", "up"], "not_found"),
        (["logs", "forget", "--user", "taro"], "bad_value"),
        (["logs", "set", "on", "--project", "../x"], "bad_name"),
        (["logs", "set", "on", "--words", "none.txt"], "file_unreadable"),
        (["logs", "sweep", "--older-than", "3"], "bad_value"),
        (["learn", "failures", "--reason", "nonsense"], "bad_value"),
        (["learn", "failures", "--after", "nonsense"], "bad_value"),
        (["learn", "review", "--cluster", "nonsense"], "not_found"),
        (["learn", "review", "--import", "none.csv"], "bad_sheet"),
        (["learn", "examples", "rows.jsonl"], "no_rows"),
        (["learn", "replay", "smollm2-135m", "--project", "empty"], "no_rows"),
    ],
)
def test_a_command_that_is_wrong_says_so_in_one_document(
    sodate: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sodate.cli.at_hand.at_hand", lambda model, *_, **__: model)
    status, told = sodate(*words)
    assert status in (1, 2) and told["error"]["code"] == code


def test_what_a_person_sees_has_numbers_names_and_no_markup_of_strangers(
    sodate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(exchange("chatcmpl-1", "[red]返品[/red]したい \x1b[31m", confidence=0.1))
    for words in (["logs", "list"], ["learn", "failures"], ["learn", "clusters"], ["logs", "set"]):
        assert failures.run(app, words) == 0
    out = capsys.readouterr().out
    assert "[red]返品[/red]" in out and "\x1b[31m" not in out and "100.0 %" in out
