"""The formats people have. Detected from the first rows and said aloud, then every row is parsed by that one format.

`--columns prompt=質問,completion=回答` renames columns to the names a format knows, and only then is it detected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.core.types import Conversation, Example, Message, Source, TaskItem
from sodate.data.columns import TARGETS, advice, listed, pair, renamed, replies
from sodate.data.fields import message_list, system_of, text_of, verdict
from sodate.data.jsontext import MAX_DEPTH, kind
from sodate.data.ledger import RowError
from sodate.data.messages import (
    Notes,
    Row,
    check_calls,
    check_order,
    json_text,
    nth,
    openai_messages,
    sharegpt_messages,
    tools_of,
)
from sodate.data.preferences import preference_openai, preference_trl, ranking, unpaired

SNIFF_ROWS = 50
_NOT_ITEM = frozenset(("messages", "prompt", "system", "tools", "functions", "parallel_tool_calls"))
# Columns that say which row it is, not what it is about.
IDS = frozenset(("id", "key", "metadata", "source", "created", "timestamp", "date"))


@dataclass(frozen=True, slots=True)
class Format:
    """`fits` looks at keys and types only; `parse` returns the example or raises RowError, and notes warnings."""

    name: str
    shape: str  # how a row of it looks, for error messages
    keys: frozenset[str]  # a row with one of these is a broken row of this format rather than one of another
    fits: Callable[[Row], bool]
    parse: Callable[[Row, Source, Notes], Example]


class NoFormatError(SodateError):
    """No known format fits a file with these columns; `reason` says so without naming the file."""

    def __init__(self, file: str, columns: Mapping[str, object]) -> None:
        what = tr("none of the known formats fits.", "知っている形式に当てはまりません。")
        super().__init__(f"{file}: {what} {listed(columns)}", advice(columns))
        self.reason = f"{listed(columns)} {self.fix}"


def detect(rows: Sequence[Row], columns: Mapping[str, str], file: str) -> Format:
    """The format most of `rows` fit, the earlier in FORMATS on a tie.

    NoFormatError naming the columns found if none does, SodateError if one of `columns` is in no row.
    """
    votes: Counter[str] = Counter()
    fitting: dict[str, Format] = {}
    found: dict[str, object] = {}
    for row in rows:
        for key, value in row.items():
            found.setdefault(key, value)
    named = [
        renamed(row, columns) if columns else row for row in rows if all(column in row for column in columns.values())
    ]
    numbers = {_label_number(row) for row in named}
    classes = any(number is not None and number > 1 for number in numbers)
    for row in named:
        form = _fitting(_without_class(row) if classes else row)
        if form:
            votes[form.name] += 1
            fitting[form.name] = form
    if votes:
        best = [form for name, form in fitting.items() if votes[name] == max(votes.values())]
        places = [form.name for form in FORMATS]
        first = min(best, key=lambda form: places.index(form.name) if form.name in places else len(places))
        return _classified(first) if classes else first
    if missing := ", ".join(column for column in columns.values() if column not in found):
        what = tr(f"there is no column {missing}.", f"列 {missing} がありません。")
        raise SodateError(f"{file}: " + what + " " + listed(found), advice(found))
    raise NoFormatError(file, found)


def _label_number(row: Row) -> int | None:
    """The label beside a prompt and its completion, if it is a whole number from 0 up."""
    text = str(row.get("label")).removesuffix(".0")
    beside = "prompt" in row and "completion" in row
    return int(text) if beside and len(text) < 20 and text.isdecimal() else None


def _without_class(row: Row) -> Row:
    return row if _label_number(row) is None else {key: value for key, value in row.items() if key != "label"}


def _classified(form: Format) -> Format:
    """The format in a file whose labels go beyond 1: there 0 and 1 are classes as well, and judge no reply."""
    return replace(
        form,
        fits=lambda row: form.fits(_without_class(row)),
        parse=lambda row, source, notes: form.parse(_without_class(row), source, notes),
    )


def _fitting(row: Row) -> Format | None:
    known = next((form for form in FORMATS if form.fits(row)), None)
    if known is None and (names := pair(row)):
        return _pair_format(*names)
    return known


# Each format's parser. Parts shared by several come first.


def _conversation(
    messages: tuple[Message, ...], tools: tuple[Mapping[str, Any], ...], source: Source, notes: Notes
) -> Conversation:
    """The checks every supervised row passes, whatever format it came in."""
    weights = [message.weight for message in messages if message.role == "assistant"]
    if not weights:
        raise RowError("no-assistant-reply")
    if not any(weights):
        raise RowError("all-weights-zero")
    for index, message in enumerate(messages):
        if message.role == "assistant" and message.weight and not message.tool_calls and not message.content.strip():
            raise RowError("empty-reply", nth(index))
    if messages[-1].role != "assistant":
        notes.append(("last-not-assistant", (messages[-1].role,)))
    check_order(messages, notes)
    if tools:
        check_calls(messages, tools, notes)
    return Conversation(messages, tools, source)


def _chat(row: Row, source: Source, notes: Notes) -> Example:
    _refuse_true_or_false(row)
    return _conversation(openai_messages(row["messages"], notes), tools_of(row), source, notes)


def _sharegpt(row: Row, source: Source, notes: Notes) -> Example:
    _refuse_true_or_false(row)
    messages = sharegpt_messages(row["conversations"], row.get("system"), notes)
    return _conversation(messages, tools_of(row), source, notes)


def _single(
    row: Row, prompt: str, reply: str, source: Source, notes: Notes, earlier: tuple[Message, ...] = ()
) -> Example:
    if not reply.strip():
        raise RowError("empty-reply", tr("The completion", "completion"))
    if not prompt.strip():
        notes.append(("empty-prompt", ()))
    messages = (*system_of(row), *earlier, Message("user", prompt), Message("assistant", reply))
    return Conversation(messages, tools_of(row), source)


def _refuse_verdict(row: Row) -> None:
    if verdict(row.get("label")) is not None:
        raise RowError("unpaired-preference")


def _refuse_true_or_false(row: Row) -> None:
    """A verdict beside a whole conversation. 0 and 1 may be classes there, and stay."""
    if not str(row.get("label")).strip().removesuffix(".0").isdecimal():
        _refuse_verdict(row)


def _pair_parser(prompt: str, reply: str) -> Callable[[Row, Source, Notes], Example]:
    def parse_pair(row: Row, source: Source, notes: Notes) -> Example:
        if reply != "label":
            _refuse_verdict(row)
        return _single(row, text_of(row, prompt), text_of(row, reply), source, notes)

    return parse_pair


def _pair_format(prompt: str, reply: str) -> Format:
    """prompt-completion under other names, which its own name says."""
    return Format(
        f"prompt-completion ({prompt}, {reply})",
        f'{{"{prompt}": "…", "{reply}": "…"}}',
        frozenset([prompt, reply]),
        lambda row: pair(row) == (prompt, reply),
        _pair_parser(prompt, reply),
    )


def _alpaca(row: Row, source: Source, notes: Notes) -> Example:
    _refuse_true_or_false(row)
    instruction, extra = text_of(row, "instruction"), row.get("input")
    prompt = f"{instruction}\n\n{extra}" if isinstance(extra, str) and extra.strip() else instruction
    return _single(row, prompt, text_of(row, "output"), source, notes, _history(row))


def _history(row: Row) -> tuple[Message, ...]:
    """Earlier turns, [question, answer] each: context, so that the row trains its own answer only."""
    history = row.get("history") or []
    if isinstance(history, str):
        history = json_text(history, "history")
    turns: list[Message] = []
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            pairs = tr("a list of [question, answer] pairs", "[質問, 答え] の組のリスト")
            raise RowError("bad-type", '"history"', pairs, kind(turn))
        turns += [Message("user", turn[0]), Message("assistant", turn[1], weight=0.0)]
    return tuple(turns)


def _plain_text(row: Row, source: Source, notes: Notes) -> Example:
    text = text_of(row, "text")
    if not text.strip():
        raise RowError("empty-reply", "text")
    return Conversation((Message("assistant", text),), (), source)


def _trl_conversational(row: Row, source: Source, notes: Notes) -> Example:
    _refuse_verdict(row)
    # The completion is what is learnt: replies within the prompt are context unless they say otherwise.
    prompt = [
        {**m, "weight": 0} if isinstance(m, dict) and m.get("role") == "assistant" and m.get("weight") is None else m
        for m in message_list(row, "prompt")
    ]
    messages = openai_messages([*prompt, *message_list(row, "completion")], notes)
    return _conversation(messages, tools_of(row), source, notes)


def _prompts(row: Row, source: Source, notes: Notes) -> Example:
    """A task without anything for a grader, as a reward model needs nothing else."""
    if "messages" in row:
        prompt = openai_messages(row["messages"], notes)
    elif isinstance(row.get("prompt"), str):
        prompt = (*system_of(row), Message("user", row["prompt"]))
    else:
        prompt = openai_messages(message_list(row, "prompt"), notes)
    if not any(message.role == "user" and message.content.strip() for message in prompt):
        raise RowError("missing-prompt")
    if prompt[-1].role == "assistant":
        raise RowError(
            "unknown-format",
            tr("the file's format", "ファイルの形式"),
            tr("the last message must be the user's.", "最後のメッセージは user にしてください。"),
        )
    check_order(prompt, notes)
    return TaskItem(prompt, {key: value for key, value in row.items() if key not in _NOT_ITEM}, tools_of(row), source)


def _task(row: Row, source: Source, notes: Notes) -> Example:
    task = _prompts(row, source, notes)
    if not any(row[key] is not None for key in row.keys() - _NOT_ITEM):
        raise RowError("missing-column", "reference_answer")
    return task


def _is_prompt(row: Row) -> bool:
    return bool(row.get("prompt")) and not row.keys() - {"prompt", "system", "tools"} - IDS


def _is_task(row: Row) -> bool:
    """A prompt without a reply, and something beside it that a grader can use (any key: only messages is reserved)."""
    if not row.keys() - _NOT_ITEM - IDS or row.keys() & {"completion", "chosen", "rejected"}:
        return False
    messages = row.get("messages")
    if isinstance(messages, list) and messages:
        return not any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages[-1:])
    # Text called an answer is a reply to learn; who means it for a grader calls it reference_answer.
    if isinstance(row.get("prompt"), str) and replies(row) and "reference_answer" not in row:
        return False
    return bool(row.get("prompt"))


def _is_message_list(value: object) -> bool:
    if isinstance(value, str):
        return value.lstrip().startswith("[{")
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _is_plain_text(row: Row) -> bool:
    # Another column of text beside it means that nobody said `text` is what should be learnt.
    others = [v for k, v in row.items() if k != "text" and not re.search(r"id$|^meta|source|url|lang", k, re.I)]
    return isinstance(row.get("text"), str) and not any(isinstance(value, str | list | dict) for value in others)


FORMATS: tuple[Format, ...] = (
    Format(
        "preference-openai",
        '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}',
        frozenset([f"{side}_{what}" for side in ("preferred", "non_preferred") for what in ("output", "completion")]),
        lambda r: "preferred_output" in r or "preferred_completion" in r,
        preference_openai,
    ),
    Format(
        "preference-trl",
        '{"prompt": …, "chosen": …, "rejected": …}',
        frozenset(["chosen", "rejected"]),
        lambda r: "chosen" in r or "rejected" in r,
        preference_trl,
    ),
    Format(
        "preference-ranking",
        '{"prompt": …, "replies": ["…", "…"], "ranks": [1, 2]}',
        frozenset(["replies", "ranks"]),
        lambda r: isinstance(r.get("replies"), list) and "prompt" in r,
        ranking,
    ),
    Format(
        "preference-unpaired",
        '{"prompt": …, "completion": …, "label": true}',
        frozenset(["prompt", "completion", "label"]),
        lambda r: "prompt" in r and "completion" in r and verdict(r.get("label")) is not None,
        unpaired,
    ),
    Format("task", '{"messages": […], "reference_answer": …}', frozenset(["messages", "prompt"]), _is_task, _task),
    Format("prompts", '{"prompt": …}', frozenset(["prompt"]), _is_prompt, _prompts),
    Format("openai-chat", '{"messages": […]}', frozenset(["messages"]), lambda r: "messages" in r, _chat),
    Format(
        "sharegpt",
        '{"conversations": […]}',
        frozenset(["conversations"]),
        lambda r: "conversations" in r,
        _sharegpt,
    ),
    Format(
        "trl-conversational",
        '{"prompt": […], "completion": […]}',
        frozenset(["prompt", "completion"]),
        lambda r: _is_message_list(r.get("prompt")) and _is_message_list(r.get("completion")),
        _trl_conversational,
    ),
    Format(
        "prompt-completion",
        '{"prompt": "…", "completion": "…"}',
        frozenset(["prompt", "completion"]),
        lambda r: "prompt" in r and "completion" in r,
        _pair_parser("prompt", "completion"),
    ),
    Format(
        "alpaca",
        '{"instruction": "…", "input": "…", "output": "…"}',
        frozenset(["instruction", "output"]),
        lambda r: "instruction" in r and "output" in r,
        _alpaca,
    ),
    Format("text", '{"text": "…"}', frozenset(["text"]), _is_plain_text, _plain_text),
)


# A list under one of these is part of a row. `tests` is what the code grader reads.
ROW_KEYS = frozenset(("functions", "history", "tests", *TARGETS)).union(*(form.keys for form in FORMATS))


def parse(row: Row, form: Format, source: Source, notes: Notes) -> Example:
    """The example in `row`. RowError where it is broken, or where it is a row of another format."""
    if not form.fits(row) and not row.keys() & form.keys:
        file_format = tr(f"the file's format {form.name}", f"ファイルの形式 {form.name} ")
        other = _fitting(row)
        if other is not None and other.name != "text":
            looks = tr(f"it looks like {other.name}.", f"{other.name} のようです。")
            raise RowError("unknown-format", file_format, looks)
        missing = tr(f"expected {form.shape}", f"{form.shape} の形にしてください")
        found = tr("found the columns ", "見つかった列: ") + (", ".join(map(str, row)) or tr("(none)", "（なし）"))
        raise RowError("unknown-format", file_format, f"{missing}; {found}")
    try:
        example = form.parse(row, source, notes)
        if isinstance(example, Conversation) and (others := row.keys() - _NOT_ITEM):
            return replace(example, item={key: row[key] for key in row if key in others})
        return example
    except RecursionError:
        raise RowError("too-deep", MAX_DEPTH) from None
