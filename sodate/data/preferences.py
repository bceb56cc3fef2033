"""Rows in which people said which reply is better: pairs, single replies with a verdict, rankings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sodate.core.text import tr
from sodate.core.types import Example, Judgement, Message, Preference, Ranking, Source
from sodate.data.fields import message_list, system_of, text_of, verdict
from sodate.data.jsontext import kind
from sodate.data.ledger import RowError
from sodate.data.messages import Notes, Row, check_order, openai_messages, tools_of


def _reply(value: object, key: str, notes: Notes) -> tuple[Message, ...]:
    """A chosen or rejected reply: text, one message or a list of them, ending with the assistant and not empty."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (Message("assistant", value),)
    else:
        messages = openai_messages(message_list({key: value}, key), notes)
    if messages[-1].role != "assistant":
        raise RowError("no-assistant-reply")
    if not messages[-1].content.strip() and not messages[-1].tool_calls:
        raise RowError("empty-reply", key)
    return messages


def _preference(
    prompt: tuple[Message, ...],
    chosen: tuple[Message, ...],
    rejected: tuple[Message, ...],
    tools: tuple[Mapping[str, Any], ...],
    source: Source,
    notes: Notes,
    margin: float = 0.0,
) -> Example:
    if not any(message.role != "system" and message.content.strip() for message in prompt):
        raise RowError("missing-prompt")
    if chosen == rejected:
        raise RowError("same-replies")
    check_order((*prompt, *chosen), notes)
    return Preference(prompt, chosen, rejected, tools, source, margin)


def preference_openai(row: Row, source: Source, notes: Notes) -> Example:
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise RowError("bad-type", '"input"', tr("an object", "オブジェクト"), kind(asked))
    if not asked.get("messages"):
        raise RowError("missing-prompt")
    replies = []
    for side in ("preferred", "non_preferred"):
        value = row.get(f"{side}_output", row.get(f"{side}_completion"))
        if not value:
            raise RowError("missing-column", f"{side}_output")
        replies.append(_reply(value, f"{side}_output", notes))
    prompt = openai_messages(asked["messages"], notes)
    return _preference(prompt, replies[0], replies[1], tools_of(asked), source, notes)


def preference_trl(row: Row, source: Source, notes: Notes) -> Example:
    for key in ("chosen", "rejected"):
        if not row.get(key):
            raise RowError("missing-column", key)
    prompt = row.get("prompt")
    chosen, rejected = (_reply(row[key], key, notes) for key in ("chosen", "rejected"))
    if isinstance(prompt, str) and not prompt.lstrip().startswith("[{"):
        asked: tuple[Message, ...] = (*system_of(row), Message("user", prompt))
    elif prompt:
        asked = openai_messages(message_list(row, "prompt"), notes)
    else:
        # Both replies are whole conversations: what they share is the prompt.
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        asked = chosen[:shared]
    if asked and chosen[: len(asked)] == asked and rejected[: len(asked)] == asked:
        chosen, rejected = chosen[len(asked) :], rejected[len(asked) :]
    return _preference(asked, chosen, rejected, tools_of(row), source, notes, _margin(row))


def unpaired(row: Row, source: Source, notes: Notes) -> Example:
    """One reply and a true/false label (TRL's unpaired preference)."""
    desirable = verdict(row.get("label"))
    if desirable is None:
        raise RowError("bad-type", '"label"', tr("true or false", "true か false"), kind(row.get("label")))
    reply = _reply(row.get("completion"), "completion", notes)
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
    if isinstance(row.get("prompt"), str) and not row["prompt"].lstrip().startswith("[{"):
        prompt: tuple[Message, ...] = (*system_of(row), Message("user", text_of(row, "prompt")))
    else:
        prompt = openai_messages(message_list(row, "prompt"), notes)
    if not any(message.role != "system" and message.content.strip() for message in prompt):
        raise RowError("missing-prompt")
    return prompt


def _margin(row: Row) -> float:
    """How much better the chosen reply is, where the row says so: a number from 0 up."""
    margin = row.get("margin")
    if margin is None:
        return 0.0
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < float("inf"):
        raise RowError("bad-type", '"margin"', tr("a number from 0 up", "0 以上の数"), str(margin)[:40])
    return float(margin)
