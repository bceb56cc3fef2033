"""What a person reads of indexes."""

from __future__ import annotations

from typing import Any

import pytest

from sodate.core.text import reading_in
from sodate.terminal import passages

BUILT: dict[str, Any] = {
    "index": "faq@2", "unchanged": False, "files": 3, "chunks": 41, "reused": 2, "duplicates": 0,
    "personal": {"phone": 1}, "set_aside": [{"file": "a.pdf", "code": "x", "message": "a.pdf is [bold] encrypted."}],
}  # fmt: skip


def test_a_build_says_what_is_in_it_and_names_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    passages.print_built(BUILT)
    assert capsys.readouterr().out.splitlines() == [
        "faq@2", "  documents: 3", "  passages: 41", "  documents taken over from before: 2",
        "  personal data, kept: phone 1", "  documents or pages not read: 1", "    a.pdf is [bold] encrypted.",
    ]  # fmt: skip
    with reading_in("ja"):
        passages.print_built(BUILT | {"unchanged": True, "set_aside": []})
    assert capsys.readouterr().out.splitlines()[:3] == ["faq@2  変更なし", "  文書: 3", "  文章: 41"]


def test_tuning_shows_each_way_once_and_what_the_other_half_of_the_questions_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    way = {"name": "BM25 k1=0.9", "recall@1": 0.9, "recall@5": 1.0, "mrr": 0.93}
    found = {"index": "faq@1", "kept": way["name"], "questions": 60, "compared": [way, way],
             "held_out": way | {"recall@1": 0.8667},
             "threshold": {"share": 0.31, "passed": 0.95, "refused": 0.6}}  # fmt: skip
    passages.print_tuned(found)
    said = capsys.readouterr().out
    assert said.count("0.93") == 1 and "faq@1 keeps BM25 k1=0.9." in said
    assert "comes first for 86.7% and among the first five for 100.0%" in said
    assert "below 0.31 counts as no answer: 95.0% of questions with an answer pass, 60.0% of those without" in said


def test_what_changed_is_named_by_kind_and_rows_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    passages.print_changes({"added": ["b.md"], "removed": [], "changed": ["a.md"]})
    passages.print_changes({"added": [], "removed": [], "changed": []})
    passages.print_attached({"out": "t.jsonl", "rows": 80, "answerable": 60})
    assert capsys.readouterr().out.splitlines() == [
        "+ b.md", "~ a.md", "Nothing has changed.", "t.jsonl: rows 80, with the answer in the passages 60",
    ]  # fmt: skip
