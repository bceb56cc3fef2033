"""Rows in which people said which reply is better: pairs, single replies with a verdict, rankings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sodate.core.text import blank, seen, tr
from sodate.core.types import Example, Judgement, Message, Preference, Ranking, Source
from sodate.data.calls import Notes, Row, tools_of
from sodate.data.columns import prompt_names, wanted
from sodate.data.fields import asked, instructed, is_asked, with_system
from sodate.data.jsontext import kind, nothing
from sodate.data.ledger import RowError
from sodate.data.marks import reasoning_of, verdict
from sodate.data.messages import check_order, message_list, openai_messages
from sodate.data.supervised import checked, learnt

_INPUT = frozenset(("messages", "tools", "functions", "parallel_tool_calls"))
_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")


def _reply(value: object, key: str, notes: Notes) -> tuple[Message, ...]:
    """A chosen or rejected reply: text, one message or a list of them, ending with the assistant and not empty."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (Message("assistant", value),)
    else:
        messages = openai_messages(message_list({key: value}, key), notes)
    if messages[-1].role != "assistant":
        raise RowError("no-assistant-reply")
    if blank(messages[-1].content) and not messages[-1].tool_calls:
        raise RowError("empty-reply", f'"{key}"')
    if not messages[-1].weight:
        raise RowError("all-weights-zero")
    return messages


def _preference(
    prompt: tuple[Message, ...],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    tools: tuple[Mapping[str, Any], ...],
    source: Source,
    notes: Notes,
    margin: float = 0.0,
) -> Preference:
    if not is_asked(prompt):
        raise RowError("missing-prompt")
    if _seen(chosen) == _seen(rejected):
        raise RowError("same-replies")
    check_order((*prompt, *chosen), notes)
    return Preference(prompt, chosen, rejected, tools, source, margin)


def _seen(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages without the characters that nobody sees."""
    return tuple(replace(message, content=seen(message.content)) for message in messages)


def preference_openai(row: Row, source: Source, notes: Notes) -> Example:
    given = row.get("input")
    if not isinstance(given, dict):
        raise RowError("bad-type", '"input"', tr("an object", "オブジェクト"), kind(given))
    if nothing(given.get("messages")):
        raise RowError("missing-prompt")
    if unknown := [key for key in given if key not in _INPUT and not nothing(given[key])]:
        notes.append(("unknown-key", ('"input"', ", ".join(unknown))))
    replies = []
    for side in ("preferred", "non_preferred"):
        value = row.get(f"{side}_output", row.get(f"{side}_completion"))
        if nothing(value):
            raise RowError("missing-column", f"{side}_output")
        replies.append(_reply(value, f"{side}_output", notes))
    prompt = with_system(row, openai_messages(given["messages"], notes))
    return _preference(prompt, replies[0], replies[1], tools_of(given) or tools_of(row), source, notes)


def preference_trl(row: Row, source: Source, notes: Notes) -> Example:
    for key in ("chosen", "rejected"):
        if nothing(row.get(key)):
            raise RowError("missing-column", key)
    chosen, rejected = (_reply(row[key], key, notes) for key in ("chosen", "rejected"))
    prompt = _before_both(row, notes)
    if not prompt:
        # Both replies are whole conversations: what they share is the prompt.
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        prompt = chosen[:shared]
    if prompt and chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    return _preference(with_system(row, prompt), chosen, rejected, tools_of(row), source, notes, _margin(row))


def _before_both(row: Row, notes: Notes) -> tuple[Message, ...]:
    """What two replies answer, under `prompt` or another name for it; () where none has it."""
    if nothing(row.get("prompt")) and not nothing(row.get("instruction")):
        return instructed(row)
    names = [name for name in prompt_names(row) if not nothing(row[name])]
    key = "prompt" if "prompt" in names else names[0] if len(names) == 1 else None
    return () if key is None else asked(row, key, notes)


def wanted_parser(row: Row, source: Source, notes: Notes) -> Example:
    """A prompt with the reply that is wanted, and one that is not where the row has it: a pair, or a conversation."""
    asks, good, bad = wanted(row)
    for name, column in (("input", asks), ("wanted", good)):
        if column is None or nothing(row[column]):
            raise RowError("missing-column", column or name)
    assert asks is not None and good is not None
    prompt = asked(row, asks, notes)
    if bad is None or nothing(row[bad]):
        return checked((*prompt, *learnt(row, good, notes)), tools_of(row), source, notes)
    chosen = _reply(row[good], good, notes)
    pair = _preference(prompt, chosen, _reply(row[bad], bad, notes), tools_of(row), source, notes)
    return replace(pair, wanted=True)


def unpaired(row: Row, source: Source, notes: Notes) -> Example:
    """One reply and a true/false label (TRL's unpaired preference)."""
    desirable = verdict(row.get("label"))
    if desirable is None:
        raise RowError("bad-type", '"label"', tr("true or false", "true か false"), kind(row.get("label")))
    reply = _reply(row.get("completion"), "completion", notes)
    if isinstance(row.get("completion"), str):
        reply = (replace(reply[0], reasoning=reasoning_of(row)[0]),)
    prompt = _prompt(row, notes)
    return Judgement(prompt, reply, desirable, tools_of(row), source)


def ranking(row: Row, source: Source, notes: Notes) -> Example:
    """k replies with a rank each, 1 is best; equal ranks are a tie, null is not ranked, "all_bad" says none will do."""
    given, ranks = row.get("replies"), row.get("ranks")
    if not isinstance(given, list) or len(given) < 2:
        wanted = tr("a list of two replies or more", "2 つ以上の返答のリスト")
        raise RowError("bad-type", '"replies"', wanted, kind(given))
    replies = tuple(_reply(reply, f"replies[{number}]", notes) for number, reply in enumerate(given))
    all_bad = row.get("all_bad") is True or ranks in ("all_bad", "both_bad")
    if isinstance(ranks, str) and ranks in ("tie", "all_bad", "both_bad"):
        ranks = [1] * len(replies)
    if ranks is None or (isinstance(ranks, list) and not all_bad and sum(rank is not None for rank in ranks) < 2):
        raise RowError("not-ranked")
    if not isinstance(ranks, list) or len(ranks) != len(replies) or not all(_is_rank(rank) for rank in ranks):
        wanted = tr(
            f'{len(replies)} whole numbers from 1 up (or null), "tie" or "all_bad"',
            f'1 以上の整数 (または null) {len(replies)} 個、"tie"、"all_bad" のどれか',
        )
        raise RowError("bad-type", '"ranks"', wanted, str(ranks)[:40])
    found = Ranking(_prompt(row, notes), replies, tuple(ranks), all_bad, tools_of(row), source)
    if not found.pairs():
        notes.append(("no-order", ()))
    return found


def _is_rank(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def _prompt(row: Row, notes: Notes) -> tuple[Message, ...]:
    prompt = asked(row, "prompt", notes)
    if not is_asked(prompt):
        raise RowError("missing-prompt")
    return prompt


def _margin(row: Row) -> float:
    """How much better the chosen reply is, where the row says so: a number from 0 up."""
    margin = row.get("margin")
    if nothing(margin):
        return 0.0
    if isinstance(margin, str) and _NUMBER.fullmatch(margin.strip()):
        margin = float(margin)
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise RowError("bad-type", '"margin"', tr("a number from 0 up", "0 以上の数"), str(margin)[:40])
    return float(margin)
