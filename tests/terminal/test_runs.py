from __future__ import annotations

from typing import Any

import pytest

from sodate.core.text import reading_in
from sodate.terminal.runs import print_run

RUN: dict[str, Any] = {
    "run": "sft-1", "status": "running", "run_dir": "runs/sft-1", "base": "tiny@1", "created_at": None,
    "progress": {"step": 3, "steps": 12, "seconds_left": 75.0}, "last": {"loss": 0.5},
    "recipe": {"method": "sft", "data": ["a.jsonl", "[b].jsonl"]}, "data": {"rows_used": 40},
    "decisions": [{"key": "lora_targets", "value": ["q", "v"], "reason": "all [of] them"}],
    "warnings": [{"text": "The loss jumped."}], "error": None, "result": None,
}  # fmt: skip


def test_a_run_is_shown_in_lines_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    with reading_in("en"):
        print_run(RUN)
    assert capsys.readouterr().out.splitlines() == [
        "sft-1  running, step 3 of 12, loss 0.5000, 1:15 left", "  method sft", "  base model tiny@1",
        "  data a.jsonl, [b].jsonl", "  rows 40", "  folder runs/sft-1",
        "  auto lora_targets = q, v  all [of] them", "The loss jumped.", "All of it: sodate runs show sft-1 --json",
    ]  # fmt: skip


def test_a_run_that_failed_says_why_and_one_that_never_began_shows_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    empty = dict.fromkeys(("progress", "last", "recipe", "data", "decisions"))
    with reading_in("ja"):
        print_run({**RUN, **empty, "status": "failed", "error": "空きがありません。", "warnings": []})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sft-1  失敗" and "空きがありません。" in lines and not [one for one in lines if "auto" in one]
