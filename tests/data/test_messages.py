"""Messages that are no messages: each is set aside with its code and its place, and the others of the file are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.core.types import Conversation
from sodate.data import check

ASKED, SAID = {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}
CALL = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def write(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("messages", "code", "place"),
    [
        ([], "no-messages", ""),
        ({"role": "user"}, "bad-type", "messages"),
        ("[1", "bad-type", "messages"),
        ([ASKED, "A"], "bad-type", "Message 2"),
        ([ASKED, {"role": "user", "content": "U", "tool_calls": CALL}, SAID], "tool-call-invalid", "Message 2"),
        ([ASKED, {"content": "A"}], "missing-role", "Message 2"),
        ([{"role": "user"}, SAID], "missing-content", "Message 1"),
        ([{"role": "user", "content": 3}, SAID], "bad-type", "Message 1"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, SAID],
            "not-text",
            "Message 1",
        ),
        ([{"role": "user", "content": ["U"]}, SAID], "not-text", "Message 1"),
        ([{"role": "user", "content": [{"type": 3, "text": "U"}]}, SAID], "not-text", "Message 1"),
    ],
)
def test_what_is_no_message_is_set_aside_with_its_place(
    messages: object, code: str, place: str, tmp_path: Path
) -> None:
    found = check([write(tmp_path, {"messages": [ASKED, SAID]}, {"messages": messages})])
    (problem,) = found.ledger.set_aside
    assert (problem.code, problem.line) == (code, 2) and place in str(problem.message)
    assert found.ledger.rows_used == 1


@pytest.mark.parametrize(
    ("turns", "code", "place"),
    [
        ({"from": "human"}, "bad-type", "conversations"),
        ([{"from": "human", "value": "U"}, "A"], "bad-type", "Message 2"),
        ([{"from": "human", "value": "U"}, {"from": "function_call", "value": "{"}], "bad-type", "Message 2"),
    ],
)
def test_turns_of_sharegpt_are_held_to_the_same(turns: object, code: str, place: str, tmp_path: Path) -> None:
    good = [{"from": "human", "value": "U"}, {"from": "gpt", "value": "A"}]
    found = check([write(tmp_path, {"conversations": good}, {"conversations": turns})])
    (problem,) = found.ledger.set_aside
    assert (problem.code, problem.line) == (code, 2) and place in str(problem.message)


def test_parts_of_text_are_one_text_and_a_refusal_is_an_answer(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Are "}, {"type": "input_text", "text": "you there?"}]
    refused = {"role": "assistant", "content": None, "refusal": "I can't say."}
    rows = ([{"role": "user", "content": parts}, SAID], [ASKED, refused])
    found = check([write(tmp_path, *({"messages": row} for row in rows))])
    first, second = found.examples
    assert isinstance(first, Conversation) and first.messages[0].content == "Are you there?"
    assert isinstance(second, Conversation) and second.messages[1].content == "I can't say."


def test_turns_that_do_not_alternate_are_used_and_named(tmp_path: Path) -> None:
    rows = ([ASKED, ASKED, SAID], [SAID, ASKED, SAID], [ASKED, {"role": "system", "content": "S"}, SAID])
    found = check([write(tmp_path, *({"messages": row} for row in rows))])
    assert {one.line for one in found.ledger.warnings if one.code == "role-order"} == {1, 2, 3}
    assert found.ledger.rows_used == 3
