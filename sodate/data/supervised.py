"""Parsers of rows with replies to learn from, and of prompts without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sodate.core.text import blank, tr
from sodate.core.types import Conversation, Example, Message, Source, TaskItem
from sodate.data.calls import Notes, Row, check_calls, tools_of
from sodate.data.columns import turns
from sodate.data.fields import asked, instructed, text_of, with_system
from sodate.data.ledger import RowError
from sodate.data.marks import nth, reasoning_of, verdict
from sodate.data.messages import check_order, is_reply, message_list, openai_messages, sharegpt_messages

NOT_ITEM = frozenset(("messages", "prompt", "system", "tools", "functions", "parallel_tool_calls"))


def checked(
    messages: tuple[Message, ...], tools: tuple[Mapping[str, Any], ...], source: Source, notes: Notes
) -> Conversation:
    """The checks every supervised row passes, whatever format it came in."""
    weights = [message.weight for message in messages if message.role == "assistant"]
    if not weights:
        raise RowError("no-assistant-reply")
    if not any(weights):
        raise RowError("all-weights-zero")
    for index, message in enumerate(messages):
        if message.role == "assistant" and message.weight and not message.tool_calls and blank(message.content):
            raise RowError("empty-reply", nth(index))
    if any(message.role == "user" and blank(message.content) for message in messages):
        notes.append(("empty-prompt", ()))
    if messages[-1].role != "assistant":
        notes.append(("last-not-assistant", (messages[-1].role,)))
    check_order(messages, notes)
    if tools:
        check_calls(messages, tools, notes)
    return Conversation(messages, tools, source)


def chat(row: Row, source: Source, notes: Notes) -> Example:
    refuse_true_or_false(row)
    return checked(with_system(row, openai_messages(row["messages"], notes)), tools_of(row), source, notes)


def sharegpt(row: Row, source: Source, notes: Notes) -> Example:
    refuse_true_or_false(row)
    return checked(with_system(row, sharegpt_messages(row["conversations"], notes)), tools_of(row), source, notes)


def refuse_verdict(row: Row) -> None:
    if verdict(row.get("label")) is not None or verdict(row.get("kto_tag")) is not None:  # LLaMA-Factory's name for it
        raise RowError("unpaired-preference")


def refuse_true_or_false(row: Row) -> None:
    """A verdict beside a whole conversation. 0 and 1 may be classes there, and stay."""
    number = str(row.get("label")).strip().removesuffix(".0").isdecimal()
    refuse_verdict({**row, "label": None} if number else row)


def learnt(row: Row, key: str, notes: Notes) -> tuple[Message, ...]:
    """What a row wants said: text, one message or a list of them. Beside text stands what was thought before it."""
    value = row.get(key)
    if isinstance(value, list | dict):
        return openai_messages(message_list(row, key), notes)
    text = text_of(row, key)
    if blank(text):
        raise RowError("empty-reply", tr(f'"{key}"', f"「{key}」"))
    return (Message("assistant", text, reasoning=reasoning_of(row)[0]),)


def pair_parser(prompt: str, reply: str) -> Callable[[Row, Source, Notes], Example]:
    """Of rows with a prompt and its reply in these columns, each text or messages."""

    def parse_pair(row: Row, source: Source, notes: Notes) -> Example:
        if reply != "label":
            refuse_verdict(row)
        # The reply is what is learnt: replies within the prompt are context unless they say otherwise.
        before = {**row, prompt: context(row[prompt])} if isinstance(row.get(prompt), list | dict) else row
        messages = (*asked(before, prompt, notes), *learnt(row, reply, notes))
        return checked(messages, tools_of(row), source, notes)

    return parse_pair


def turns_parser(row: Row, source: Source, notes: Notes) -> Example:
    """A table with a column for each turn, under English or Japanese names."""
    names = turns(row)
    if names is None:
        raise RowError("missing-column", "user, assistant")
    system, user, assistant = names
    return pair_parser(user, assistant)({**row, "system": row.get(system)} if system else row, source, notes)


def context(messages: Any) -> Any:
    """The messages, with a weight of 0 at replies that have no mark of their own."""
    listed = messages if isinstance(messages, list) else [messages]
    return [
        {**m, "weight": 0} if isinstance(m, dict) and is_reply(m) and m.get("weight") is None else m for m in listed
    ]


def alpaca(row: Row, source: Source, notes: Notes) -> Example:
    refuse_true_or_false(row)
    if row.get("instruction") is None:
        raise RowError("missing-column", "instruction")
    return checked((*instructed(row), *learnt(row, "output", notes)), tools_of(row), source, notes)


def plain_text(row: Row, source: Source, notes: Notes) -> Example:
    text = text_of(row, "text")
    if blank(text):
        raise RowError("empty-reply", "text")
    return Conversation((Message("assistant", text),), (), source)


def prompts(row: Row, source: Source, notes: Notes) -> Example:
    """A task without anything for a grader, as a reward model needs nothing else."""
    if "messages" in row:
        prompt = with_system(row, openai_messages(row["messages"], notes))
    else:
        prompt = asked(row, "prompt", notes)
    if not any(message.role == "user" and not blank(message.content) for message in prompt):
        raise RowError("missing-prompt")
    if prompt[-1].role == "assistant":
        raise RowError(
            "unknown-format",
            tr("the file's format", "ファイルの形式"),
            tr("the last message must be the user's.", "最後のメッセージは user にしてください。"),
        )
    check_order(prompt, notes)
    return TaskItem(prompt, {key: value for key, value in row.items() if key not in NOT_ITEM}, tools_of(row), source)


def task(row: Row, source: Source, notes: Notes) -> Example:
    found = prompts(row, source, notes)
    if all(row[key] is None for key in row.keys() - NOT_ITEM):  # "" is an answer: that there is none
        raise RowError("missing-column", "reference_answer")
    return found


def with_item(example: Example, row: Row) -> Example:
    """A conversation with its row's other columns, which a grader may want."""
    others = {key: row[key] for key in row if key not in NOT_ITEM}
    return replace(example, item=others) if others and isinstance(example, Conversation) else example
