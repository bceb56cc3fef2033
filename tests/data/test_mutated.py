"""Rows of every format with something in them replaced, taken out or wrapped: each is used, or set aside by name."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sodate.data import check

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ROWS: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "messages": [Q, {**A, "weight": 1, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c", "content": "r"},
                     {"role": "assistant", "content": [{"type": "text", "text": "a"}], "reasoning_content": "t"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "train": True},
                          {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
                          {"from": "observation", "value": "r"}],
        "tools": "[]", "system": "S",
    },
    "preference-trl": {"prompt": [Q], "chosen": [A], "rejected": [A], "margin": 1},
    "preference-openai": {"input": {"messages": [Q], "tools": []}, "preferred_output": [A],
                          "non_preferred_output": [A]},
    "preference-ranking": {"prompt": "q", "replies": ["a", "b"], "ranks": [1, 2]},
    "preference-unpaired": {"prompt": "q", "completion": "a", "label": True},
    "trl-conversational": {"prompt": [Q], "completion": [A]},
    "prompt-completion": {"prompt": "q", "completion": "a"},
    "alpaca": {"instruction": "i", "input": "n", "output": "o", "system": "s", "history": [["q", "a"]]},
    "preference-wanted": {"input": "q", "wanted": "a", "unwanted": "b"},
    "system-user-assistant": {"system": "s", "user": "u", "assistant": "a"},
    "text": {"text": "t"},
    "task": {"messages": [Q], "reference_answer": {"a": 1}},
}  # fmt: skip
OTHERS = ["null", "true", "0", "-1", "3.5", '""', '"x"', '"system"', '"tool"', '"[]"', '"{}"', '"null"', "[]", "{}",
          '["x"]', "[1]", "[null]", "[[]]", "[{}]", '{"a": 1}', '{"role": "user"}']  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def changed(row: Any, rng: random.Random) -> Any:
    row = json.loads(json.dumps(row))
    *path, key = rng.choice(list(places(row)))
    inside = row
    for step in path:
        inside = inside[step]
    way = rng.random()
    if way < 0.6:
        inside[key] = json.loads(rng.choice(OTHERS))
    elif way < 0.75:
        del inside[key]
    else:
        inside[key] = json.dumps(inside[key]) if way < 0.9 else [inside[key]]
    return row


@pytest.mark.parametrize("form", ROWS)
def test_nothing_in_a_row_is_unforeseen(form: str, tmp_path: Path) -> None:
    rng = random.Random(form)
    rows = [ROWS[form]] * 50 + [changed(ROWS[form], rng) for _ in range(150)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = check([file])
    assert found.format.startswith(form)
    assert found.ledger.rows_in == len(rows) and not found.ledger.counts["unforeseen"]
