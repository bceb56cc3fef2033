"""Headings in the reader's language: every key that a table or a check shows has one."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from sodate.core.types import Conversation, Judgement, Message, Preference, Ranking, Source, TaskItem
from sodate.data.stats import Stats
from sodate.serve.keys import Key
from sodate.terminal import data, print_table
from sodate.terminal.words import WORDS, cell, figures, word

SAID = (Message("user", "やあ"), Message("assistant", "はい"))


def summary() -> dict[str, object]:
    stats, here = Stats(), Source("f", 1)
    pair = (SAID[1:], (Message("assistant", "いいえ"),))
    for example in (
        Conversation(SAID, source=here),
        Preference(SAID[:1], *pair, source=here),
        Judgement(SAID[:1], SAID[1:], True, source=here),
        Judgement(SAID[:1], SAID[1:], False, source=here),
        Ranking(SAID[:1], pair, (1, 2), source=here),
        TaskItem(SAID[:1], {}, source=here),
    ):
        stats.add(example, SAID, "やあはい", (4, 2))
    return stats.summary()


def test_every_key_of_a_check_and_of_a_table_has_a_heading() -> None:
    found = summary()
    keys = set(found)
    for name, inner in found.items():
        if isinstance(inner, dict) and name not in ("languages", "user_turns", "labels"):
            keys |= set(inner)
    keys |= {field.name for field in dataclasses.fields(Key)} - {"hash"}
    keys |= {"run", "status", "version", "run_dir", "base", "method", "rows", "created_at", "path"}
    assert keys - set(WORDS) == set()


def test_a_check_is_read_in_japanese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    assert figures("user_turns", {"1": 20}) == "1 20"
    assert figures("languages", {"ja": 0.95, "en": 0.05}) == "ja 95 %, en 5 %"
    assert figures("chars", {"min": 3, "median": 2.5, "max": 1234}) == "最小 3, 中央値 2.5, 最大 1,234"
    assert word("nobody_named_this") == "nobody named this"


def test_tables_show_dates_and_say_how_a_run_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    here = datetime.datetime.fromtimestamp(0).strftime("%Y-%m-%d %H:%M")  # by the clock on the wall
    assert cell("created_at", 0) == cell("created_at", "1970-01-01T00:00:00+00:00") == here
    assert cell("created_at", "long ago") == "long ago" and cell("revoked_at", None) == "–"
    assert cell("base", "tiny@0123456789ab") == "tiny" and cell("base", "orders@3") == "orders@3"
    print_table([{"run": "sft-1", "status": "done"}])
    assert capsys.readouterr().out.split() == ["実行", "状態", "sft-1", "完了"]


def test_a_name_in_a_narrow_table_is_whole_so_that_it_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = "sft-20261130-124926-1462", "/home/somebody/.sodate/runs/sft-20261130-124926-1462"
    table = [{"run": run, "status": "failed", "method": "sft", "base": "smollm2-135m@b179c9523d0e", "version": "m@1",
              "created_at": 0, "run_dir": folder}]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    print_table(table)
    head, *rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith(run) and "smollm2-135m " in rows[0] and "/home" not in "".join(rows)
    assert head.split()[:2] == ["run", "status"] and len(rows) == 1
    monkeypatch.delenv("COLUMNS")  # nobody looks: a program reads one line a row, with everything in it
    print_table(table)
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["folder", folder]


def test_a_file_is_checked_and_shown_with_headings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sodate

    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "q", "completion": "a"}\n')
    data.print_check(sodate.check(str(file)), None)
    assert "characters of replies  min 1" in capsys.readouterr().out
