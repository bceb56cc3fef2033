"""What can't be seen is empty, in every format, before anything else is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.text import blank
from sodate.data import check

UNSEEN = [
    "",
    " ",
    "\t\n",
    "\u200b",
    "\ufeff",
    "\u3000",
    "\u00a0",
    "\u2060",
    "\u00ad",
    "\u2800",
    "\u3164",
    "\u200b\ufeff \u3000",
]
UNSEEN += ["\u200e", "\U000e0020", "\ufe0f", "\u034f", "\u2028", "\x1a", "\x7f", "\x08", "\x85"]


@pytest.mark.parametrize("text", UNSEEN)
def test_what_cannot_be_seen_is_blank(text: str) -> None:
    assert blank(text) and not blank(text + "。") and not blank("0" + text)


def codes(tmp_path: Path, row: dict[str, Any]) -> list[str]:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    ledger = check([path]).ledger
    return [problem.code for problem in (*ledger.set_aside, *ledger.warnings)]


@pytest.mark.parametrize("text", UNSEEN)
def test_an_unseen_reply_is_empty_in_every_format(tmp_path: Path, text: str) -> None:
    user = {"role": "user", "content": "U"}
    reply = {"role": "assistant", "content": text}
    for row in (
        {"messages": [user, reply]},
        {"messages": [user, {"role": "assistant", "content": [{"type": "text", "text": text}]}]},
        {"conversations": [{"from": "human", "value": "U"}, {"from": "gpt", "value": text}]},
        {"prompt": [user], "completion": [reply]},
        {"prompt": "U", "completion": text},
        {"question": "U", "answer": text},
        {"instruction": "U", "output": text},
        {"user": "U", "assistant": text},
        {"text": text},
        {"prompt": "U", "completion": text, "label": True},
        {"prompt": [user], "chosen": "A", "rejected": [reply]},
        {"prompt": "U", "replies": ["A", text], "ranks": [1, 2]},
        {"input": {"messages": [user]}, "preferred_output": [reply], "non_preferred_output": [user]},
    ):
        assert codes(tmp_path, row) == ["empty-reply"], row
    assert codes(tmp_path, {"prompt": "U", "chosen": text, "rejected": "B"}) == ["missing-column"]


def test_content_without_parts_is_empty(tmp_path: Path) -> None:
    user = {"role": "user", "content": "U"}
    assert codes(tmp_path, {"messages": [user, {"role": "assistant", "content": []}]}) == ["empty-reply"]
    empty = {"role": "user", "content": []}
    assert codes(tmp_path, {"messages": [empty, {"role": "assistant", "content": "A"}]}) == ["empty-prompt"]


@pytest.mark.parametrize("text", UNSEEN)
def test_an_unseen_prompt_is_empty_in_every_format(tmp_path: Path, text: str) -> None:
    user = {"role": "user", "content": text}
    reply = {"role": "assistant", "content": "A"}
    for row in (
        {"messages": [user, reply]},
        {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "A"}]},
        {"prompt": [user], "completion": [reply]},
        {"prompt": text, "completion": "A"},
        {"question": text, "answer": "A"},
        {"instruction": text, "output": "A"},
    ):
        assert codes(tmp_path, row) == ["empty-prompt"], row
    for row in (
        {"prompt": [user], "chosen": "A", "rejected": "B"},
        {"prompt": [user], "reference_answer": "A"},
        {"prompt": [user], "completion": "A", "label": True},
    ):
        assert codes(tmp_path, row) == ["missing-prompt"], row


@pytest.mark.parametrize("text", [one for one in UNSEEN if one and not any(map(str.isspace, one))])
def test_replies_that_differ_in_nothing_one_can_see_are_the_same(tmp_path: Path, text: str) -> None:
    messages = [{"role": "assistant", "content": f"は{text}い"}]
    for rejected in (f"は{text}い", messages):
        assert codes(tmp_path, {"prompt": "U", "chosen": "はい", "rejected": rejected}) == ["same-replies"]


def test_the_end_mark_of_an_old_file_is_no_row_but_zeros_are_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "U", "completion": "A"}\n\x1a')
    ledger = check([path]).ledger
    assert (ledger.rows_in, ledger.rows_used) == (1, 1)
    path.write_bytes(b'{"prompt": "U", "completion": "A"}\n\0\0\0\n')
    ledger = check([path]).ledger
    assert (ledger.rows_in, ledger.rows_used) == (2, 1)
