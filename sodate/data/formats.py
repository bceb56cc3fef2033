"""The formats people have. Detected from the first rows and said aloud, then every row is parsed by that one format.

`--columns prompt=質問,completion=回答` renames columns to the names a format knows, and only then is it detected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.core.types import Example, Source, TaskItem
from sodate.data import supervised
from sodate.data.calls import Notes, Row
from sodate.data.cells import LISTS, unfolded
from sodate.data.columns import (
    IDS,
    JUDGED,
    TARGETS,
    advice,
    canonical,
    listed,
    names_of,
    pair,
    renamed,
    replies,
    turns,
    wanted,
    with_system_named,
)
from sodate.data.compare import all_messages
from sodate.data.fields import has_history
from sodate.data.jsontext import MAX_DEPTH, nothing
from sodate.data.ledger import RowError
from sodate.data.marks import marks_not_known, reasoning_of, row_is_left_out, verdict
from sodate.data.preferences import preference_openai, preference_trl, ranking, unpaired, wanted_parser

SNIFF_ROWS = 50
WANTED = "preference-wanted"


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
        what = tr("none of the known formats fits.", "対応している形式のどれにも当てはまりません。")
        said = f"{file}: " + what + tr(" ", "") + listed(columns)
        super().__init__(said, advice(columns), code="unknown_format", param="data", file=file)
        self.reason = listed(columns) + tr(" ", "") + self.fix


def detect(rows: Sequence[Row], columns: Mapping[str, str], file: str) -> Format:
    """The format most of `rows` fit, the earlier in FORMATS on a tie.

    NoFormatError naming the columns found if none does, SodateError if one of `columns` is in no row.
    """
    found: dict[str, object] = {}
    for row in rows:
        for key, value in row.items():
            found.setdefault(key, value)
    named = [
        with_system_named(unfolded(renamed(row, columns) if columns else row, strict=False))
        for row in rows
        if all(column in row for column in columns.values())
    ]
    form = _most_fitting(named)
    if form is None and (form := _most_fitting([canonical(row) for row in named])):
        form = _seen_through(form, canonical)
    if form:
        return form
    if missing := ", ".join(column for column in columns.values() if column not in found):
        what = tr(f"there is no column {missing}.", f"列 {missing} がありません。")
        raise SodateError(
            f"{file}: " + what + tr(" ", "") + listed(found),
            advice(found),
            code="missing_column",
            param="columns",
            file=file,
        )
    raise NoFormatError(file, found)


def _most_fitting(rows: Sequence[Row]) -> Format | None:
    votes: Counter[str] = Counter()
    matching: dict[str, Format] = {}
    numbers = {_label_number(row) for row in rows}
    classes = any(number is not None and number > 1 for number in numbers)
    for row in rows:
        if form := _fitting(_without_class(row) if classes else row):
            votes[form.name] += 1
            matching[form.name] = form
    if not votes:
        return None
    best = [form for name, form in matching.items() if votes[name] == max(votes.values())]
    places = [form.name for form in FORMATS]
    first = min(best, key=lambda form: places.index(form.name) if form.name in places else len(places))
    # In a file whose labels go beyond 1, 0 and 1 are classes as well, and judge no reply.
    return _seen_through(first, _without_class) if classes else first


def _label_number(row: Row) -> int | None:
    """The label beside a prompt and its completion, if it is a whole number from 0 up."""
    text = str(row.get("label")).removesuffix(".0")
    beside = "prompt" in row and "completion" in row
    return int(text) if beside and len(text) < 20 and text.isdecimal() else None


def _without_class(row: Row) -> Row:
    return row if _label_number(row) is None else {key: value for key, value in row.items() if key != "label"}


def _seen_through(form: Format, view: Callable[[Row], Row]) -> Format:
    """The format for rows that are read as `view` shows them."""
    return replace(
        form,
        fits=lambda row: form.fits(view(row)),
        parse=lambda row, source, notes: form.parse(view(row), source, notes),
    )


def _fitting(row: Row) -> Format | None:
    known = next((form for form in FORMATS if form.fits(row)), None)
    if known is None and (names := pair(row)):
        return _pair_format(*names)
    return known


def _pair_format(prompt: str, reply: str) -> Format:
    """prompt-completion under other names, which its own name says."""
    return Format(
        f"prompt-completion ({prompt}, {reply})",
        f'{{"{prompt}": "…", "{reply}": "…"}}',
        frozenset([prompt, reply]),
        lambda row: pair(row) == (prompt, reply),
        supervised.pair_parser(prompt, reply),
    )


def _is_prompt(row: Row) -> bool:
    return bool(row.get("prompt")) and not row.keys() - {"prompt", "system", "tools"} - IDS


def _is_task(row: Row) -> bool:
    """A prompt without a reply, and something beside it that a grader can use (any key: only messages is reserved)."""
    if not row.keys() - supervised.NOT_ITEM - IDS or row.keys() & {"completion", "chosen", "rejected"}:
        return False
    messages = row.get("messages")
    if isinstance(messages, list) and messages:
        return not any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages[-1:])
    # Text called an answer is a reply to learn; who means it for a grader calls it reference_answer.
    if isinstance(row.get("prompt"), str) and replies(row) and "reference_answer" not in row:
        return False
    return bool(row.get("prompt"))


def _is_message_list(value: object) -> bool:
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
    Format(
        "task", '{"messages": […], "reference_answer": …}', frozenset(["messages", "prompt"]), _is_task, supervised.task
    ),
    Format("prompts", '{"prompt": …}', frozenset(["prompt"]), _is_prompt, supervised.prompts),
    Format("openai-chat", '{"messages": […]}', frozenset(["messages"]), lambda r: "messages" in r, supervised.chat),
    Format(
        "sharegpt",
        '{"conversations": […]}',
        frozenset(["conversations"]),
        lambda r: "conversations" in r,
        supervised.sharegpt,
    ),
    Format(
        "trl-conversational",
        '{"prompt": […], "completion": […]}',
        frozenset(["prompt", "completion"]),
        lambda r: _is_message_list(r.get("prompt")) and _is_message_list(r.get("completion")),
        supervised.pair_parser("prompt", "completion"),
    ),
    Format(
        "prompt-completion",
        '{"prompt": "…", "completion": "…"}',
        frozenset(["prompt", "completion"]),
        lambda r: "prompt" in r and "completion" in r,
        supervised.pair_parser("prompt", "completion"),
    ),
    Format(
        "alpaca",
        '{"instruction": "…", "input": "…", "output": "…"}',
        frozenset(["instruction", "output"]),
        lambda r: "instruction" in r and "output" in r,
        supervised.alpaca,
    ),
    Format(
        WANTED,
        '{"input": "…", "wanted": "…", "unwanted": "…"}',
        JUDGED,
        lambda r: all(wanted(r)),
        wanted_parser,
    ),
    Format(
        "system-user-assistant",
        '{"system": "…", "user": "…", "assistant": "…"}',
        frozenset(["user", "assistant"]),
        lambda r: turns(r) is not None,
        supervised.turns_parser,
    ),
    Format("text", '{"text": "…"}', frozenset(["text"]), _is_plain_text, supervised.plain_text),
)


# A list under one of these is part of a row.
ROW_KEYS = LISTS | {"tests", *TARGETS}.union(*(form.keys for form in FORMATS))


def parse(row: Row, form: Format, source: Source, notes: Notes) -> Example:
    """The example in `row`. RowError where it is broken, or where it is a row of another format."""
    try:
        given = unfolded(row)
        row = with_system_named(given)
        if not form.fits(row) and not row.keys() & form.keys:
            raise _other_format(row, form)
        example = form.parse(row, source, notes)
        if not isinstance(example, TaskItem):
            if row_is_left_out(row):
                raise RowError("all-weights-zero")
            if unknown := [*marks_not_known(row), *_lost(row, example)]:
                notes.append(("unknown-key", (tr("The row", "この行"), ", ".join(unknown))))
        return supervised.with_item(example, given)
    except RecursionError:
        raise RowError("too-deep", MAX_DEPTH) from None


def _lost(row: Row, example: Example) -> list[str]:
    """Columns that other formats read and that are in no message of this row: what was thought, or said before."""
    messages = all_messages(example)
    thought, keys = reasoning_of(row)
    lost = sorted(keys) if thought and not any(thought == message.reasoning for message in messages) else []
    if not nothing(row.get("history")):
        first = row["history"][0][0] if has_history(row) and row["history"][0] else None
        lost += [] if any(message.content == first for message in messages) else ["history"]
    return lost


def _other_format(row: Row, form: Format) -> RowError:
    file_format = tr(f"the file's format {form.name}", f"ファイルの形式 {form.name} ")
    other = _fitting(row)
    if other is not None and other.name != "text":
        looks = tr(f"it looks like {other.name}.", f"{other.name} のようです。")
        return RowError("unknown-format", file_format, looks)
    missing = tr(f"expected {form.shape}", f"{form.shape} の形にしてください")
    found = tr("found the columns ", "見つかった列: ") + names_of(row)
    return RowError("unknown-format", file_format, missing + "; " + found)
