"""Rows of other trainers' data sets as rows of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "system": "system", "tool": "tool", "observation": "tool",
}  # fmt: skip


def alpaca(row: Row, columns: Row, tags: Row, ranking: bool) -> dict[str, Any] | None:
    """A row of LLaMA-Factory's `alpaca`, its columns named by `columns`; None for one that is not."""

    def of(name: str, default: str) -> Any:
        return row.get(str(columns.get(name, default)))

    asked = "\n".join(str(part) for part in (of("prompt", "instruction"), of("query", "input")) if part)
    turns = [{"role": "system", "content": str(of("system", "system"))}] if of("system", "system") else []
    for before in of("history", "history") or ():
        turns += [{"role": "user", "content": before[0]}, {"role": "assistant", "content": before[1]}]
    if asked:
        turns.append({"role": "user", "content": asked})
    return _finished(row, columns, turns, of("response", "output"), ranking)


def sharegpt(row: Row, columns: Row, tags: Row, ranking: bool) -> dict[str, Any] | None:
    """A row of LLaMA-Factory's `sharegpt`; `tags` name its roles. None for one that is not."""
    role, content = str(tags.get("role_tag", "from")), str(tags.get("content_tag", "value"))
    names = {str(tags.get(f"{what}_tag", default)): ours for what, default, ours in (
        ("user", "human", "user"), ("assistant", "gpt", "assistant"), ("system", "system", "system"),
        ("observation", "observation", "tool"), ("function", "function_call", "call"))}  # fmt: skip
    turns: list[dict[str, Any]] = []
    system = row.get(str(columns.get("system", "system")))
    if system:
        turns.append({"role": "system", "content": str(system)})
    for turn in row[str(columns.get("messages", "conversations"))]:
        who = names.get(str(turn[role])) or ROLES.get(str(turn[role]))
        if who is None:
            return None
        if who == "call":
            given = json.loads(turn[content])
            calls = given if isinstance(given, list) else [given]
            turns.append({"role": "assistant", "content": "", "tool_calls": [
                {"id": f"call_{len(turns)}_{n}", "type": "function", "function": {
                    "name": one["name"], "arguments": json.dumps(one.get("arguments", {}), ensure_ascii=False)}}
                for n, one in enumerate(calls)]})  # fmt: skip
        elif who == "tool":
            turns.append({"role": "tool", "tool_call_id": turns[-1]["tool_calls"][0]["id"], "content": turn[content]})
        else:
            turns.append({"role": who, "content": turn[content]})
    made = _finished(row, columns, turns, None, ranking)
    tools = row.get(str(columns.get("tools", "tools")))
    if made is not None and tools:
        listed = json.loads(tools) if isinstance(tools, str) else tools
        made["tools"] = [one if "function" in one else {"type": "function", "function": one} for one in listed]
    return made


def _finished(row: Row, columns: Row, turns: list[dict[str, Any]], reply: Any, ranking: bool) -> dict[str, Any] | None:
    """A row of ours: a conversation, a pair, or a reply that is wanted or not."""
    chosen, rejected = (row.get(str(columns.get(what, what))) for what in ("chosen", "rejected"))
    if ranking and isinstance(reply, list) and len(reply) == 2:  # the older form: both in one column
        chosen, rejected = reply
    if ranking:
        if chosen is None or rejected is None or not turns:
            return None
        return {"prompt": turns, "chosen": _said(chosen), "rejected": _said(rejected)}
    if reply is not None:
        turns = [*turns, {"role": "assistant", "content": str(reply)}]
    if "kto_tag" in columns and row.get(str(columns["kto_tag"])) is not None and len(turns) > 1:
        return {"prompt": turns[:-1], "completion": turns[-1:], "label": bool(row[str(columns["kto_tag"])])}
    return {"messages": turns} if turns and turns[-1]["role"] == "assistant" and len(turns) > 1 else None


def _said(value: Any) -> list[dict[str, Any]]:
    text = value.get("value", value.get("content")) if isinstance(value, dict) else value
    return [{"role": "assistant", "content": str(text)}]


def axolotl(row: Row, about: Row) -> dict[str, Any] | None:
    """A row of a data set that an Axolotl YAML is `about`; None for one that is not."""
    kind = str(about.get("type", "chat_template")).partition(":")[0].partition(".")[0]
    if "chosen" in row and "rejected" in row:
        asked = row.get("prompt", row.get("question", row.get("input")))
        turns = asked if isinstance(asked, list) else [{"role": "user", "content": asked}] if asked else None
        pair = [row["chosen"], row["rejected"]]
        if turns is None and all(isinstance(side, list) and side for side in pair):
            turns, pair = pair[0][:-1], [side[-1] for side in pair]
        return {"prompt": turns, "chosen": _said(pair[0]), "rejected": _said(pair[1])} if turns else None
    if kind == "completion":
        text = row.get(str(about.get("field", "text")))
        return {"text": text} if isinstance(text, str) else None
    messages = about.get("field_messages") or next((k for k in ("messages", "conversations") if k in row), None)
    if messages in row:
        mapping = about.get("message_property_mappings") or {}
        role = str(mapping.get("role") or about.get("message_field_role") or "role")
        content = str(mapping.get("content") or about.get("message_field_content") or "content")
        renamed = {str(one): ours for ours, theirs in (about.get("roles") or {}).items() for one in theirs}
        turns = []
        for turn in row[str(messages)]:
            who = turn.get(role, turn.get("from"))
            turns.append({**{k: turn[k] for k in ("tool_calls", "tool_call_id", "weight") if k in turn},
                          "role": renamed.get(str(who)) or ROLES.get(str(who), str(who)),
                          "content": turn.get(content, turn.get("value"))})  # fmt: skip
        return {"messages": turns, **({"tools": row["tools"]} if row.get("tools") else {})} if turns else None
    return alpaca(row, {}, {}, False)
