"""Which column is which: what the user said, what the names plainly say, and what to suggest where they do not."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr
from sodate.data.calls import Row
from sodate.data.jsontext import nothing
from sodate.data.ledger import RowError
from sodate.data.marks import verdict

# What --columns may map to. A reference_answer makes task items, and then keeps all other columns for the grader.
TARGETS = (
    *("messages", "conversations", "tools", "system", "prompt", "completion", "instruction", "input", "output"),
    *("chosen", "rejected", "margin", "label", "replies", "ranks", "text", "reference_answer"),
)
# Columns that say which row it is, not what it is about.
IDS = frozenset(("id", "key", "metadata", "source", "created", "timestamp", "date", "origin"))
ANSWERED_BY = ("file", "passage")  # what a row says of the document that answers it (`data with-context`)
# Columns suggested for --columns when detection fails, likeliest first.
_PROMPT_LIKE = r"prompt|question|query|instruction|input|source|質問|問い|入力|依頼|本文|問"
_REPLY_LIKE = r"completion|answer|response|output|reply|target|label|回答|答え|返答|出力|返信|ラベル|答"
# Names (whole ones, folded) that say what a column is. Beside a context, a prompt is not all there is.
_PROMPTS = frozenset(
    (
        *("prompt", "question", "query", "instruction", "input", "text"),
        *("プロンプト", "質問", "問い", "問い合わせ", "お問い合わせ", "入力", "指示", "依頼", "本文"),
    )
)
_CONTEXTS = frozenset(
    ["context", "passage", "document", "history", "messages", "conversations", "文脈", "背景", "資料", "履歴"]
)
_SAID = ("出力", "返答", "回答", "応答", "返信", "例")
_WANTED = frozenset(
    ["wanted", "wanted output"] + [good + said for good in ("望ましい", "好ましい", "良い") for said in _SAID]
)
_UNWANTED = frozenset(
    ["unwanted", "unwanted output"]
    + [bad + said for bad in ("避けたい", "望ましくない", "好ましくない", "悪い") for said in _SAID]
)
_REPLIES = _WANTED.union(
    ["completion", "answer", "response", "output", "reply", "target", "label"],
    ["回答", "解答", "答え", "返答", "応答", "出力", "返信", "ラベル"],
)
JUDGED = _WANTED | _UNWANTED
_SYSTEMS = frozenset(
    ["system", "system prompt", "system message", "システム", "システムプロンプト", "システムメッセージ"]
)
_USERS = frozenset(["user", "human", "ユーザー", "ユーザ", "利用者"])
_ASSISTANTS = frozenset(["assistant", "ai", "アシスタント"])

_ALL = _PROMPTS | _REPLIES | _UNWANTED | _SYSTEMS | _USERS | _ASSISTANTS | {name.replace("_", " ") for name in TARGETS}


@functools.lru_cache(4096)
def _folded(name: str) -> str:
    """A column's name as names are compared: width, case, spaces around it and underscores do not count."""
    return unicodedata.normalize("NFKC", name).strip().casefold().replace("_", " ")


def known_names(fields: Iterable[str]) -> int:
    """How many of these fields are names that some format knows."""
    return sum(_folded(field) in _ALL for field in fields)


def canonical(row: Row) -> Row:
    """The row with known names as formats spell them (`Chosen`, `ＰＲＯＭＰＴ`)."""
    known = {_folded(target): target for target in TARGETS}
    names = {name: known.get(_folded(name), name) for name in row}
    return {names[name] if names[name] not in row else name: value for name, value in row.items()}


def with_system_named(row: Row) -> Row:
    """The row with its system text as `system`, under whichever of that column's names it stands: what a format does
    not know it would lose."""
    if not nothing(row.get("system")):
        return row
    name = next((key for key, value in row.items() if _folded(key) in _SYSTEMS and not nothing(value)), None)
    return row if name is None else {**{key: value for key, value in row.items() if key != name}, "system": row[name]}


def replies(row: Row) -> list[str]:
    """Columns with text whose name says that it is a reply."""
    return [name for name, value in row.items() if _folded(name) in _REPLIES and isinstance(value, str)]


def pair(row: Row) -> tuple[str, str] | None:
    """The column of the prompt and that of the reply where exactly one has the name of each and both are text.

    A list of messages is as good as text. A true/false label judges the reply beside it and is none.
    """
    names = {name: _folded(name) for name in row}
    prompts = [name for name, plain in names.items() if plain in _PROMPTS]
    answers = [name for name, plain in names.items() if plain in _REPLIES and not isinstance(row[name], bool)]
    history = row.get("history")  # earlier turns, which are read; under this name any text would be lost
    contexts = _CONTEXTS - ({"history"} if isinstance(history, list) or nothing(history) else set())
    if len(prompts) != 1 or len(answers) != 1 or contexts & set(names.values()) or "reference_answer" in row:
        return None
    both = _is_said(row[prompts[0]]) and _is_said(row[answers[0]])
    return (prompts[0], answers[0]) if both else None


def prompt_names(row: Row) -> list[str]:
    """Columns whose name says that they hold the prompt, or the messages before a reply."""
    return [name for name in row if _folded(name) in _PROMPTS or name in ("messages", "conversations")]


def _is_said(value: object) -> bool:
    """Text, or messages."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(value, str) or (isinstance(first, dict) and bool(first.keys() & {"role", "from"}))


def wanted(row: Row) -> tuple[str | None, str | None, str | None]:
    """The columns of the prompt, of the reply that is wanted and of the one that is not; None for a missing one."""
    names = {name: _folded(name) for name in row}
    prompt, good, bad = (
        next((name for name, plain in names.items() if plain in known), None)
        for known in (_PROMPTS, _WANTED, _UNWANTED)
    )
    return prompt, good, bad


def turns(row: Row) -> tuple[str | None, str, str] | None:
    """The columns of system (may be None), user and assistant, where both of these hold text."""
    names = {name: _folded(name) for name, value in row.items() if _is_said(value) or value is None}
    system, user, assistant = (
        next((name for name, plain in names.items() if plain in known), None)
        for known in (_SYSTEMS, _USERS, _ASSISTANTS)
    )
    return (system, user, assistant) if user is not None and assistant is not None else None


def names_of(columns: Iterable[str]) -> str:
    """The first names in a sentence, none of them longer than a line."""
    first = [name if len(name) <= 40 else name[:40] + "…" for name in islice(columns, 50)]
    return ", ".join(first) or tr("(none)", "（なし）")


def listed(columns: Mapping[str, object]) -> str:
    names = names_of(columns)
    return tr(f"Columns found: {en(names)}.", f"見つかった列: {ja(names)}。")


def advice(columns: Mapping[str, object]) -> str:
    """What to give as --columns for a file with these columns (name → a value of it)."""
    return tr("Say which column is which: ", "どの列が何かを指定してください: ") + "--columns " + _suggestion(columns)


def _suggestion(columns: Mapping[str, object]) -> str:
    names = [name for name in columns if not re.search(r"(^|_)(id|key|no|line)$", name, re.IGNORECASE)] or list(columns)
    texts = [name for name in names if isinstance(columns[name], str)]
    reply = _likeliest(_REPLY_LIKE, names) or (names[-1] if len(names) > 1 else "COLUMN")
    rest = [name for name in texts or names if name != reply]
    prompt = _likeliest(_PROMPT_LIKE, rest) or (rest[0] if rest else "COLUMN")
    # A list or an object is nothing to write as a reply, but a grader can hold it against one.
    target = "reference_answer" if isinstance(columns.get(reply), list | dict) else "completion"
    # Left out, a verdict would be lost, and bad replies learnt with the good ones.
    judged = ",label=label" if reply != "label" and verdict(columns.get("label")) is not None else ""
    return f"prompt={prompt},{target}={reply}{judged}"


def _likeliest(pattern: str, names: Sequence[str]) -> str | None:
    for word in pattern.split("|"):
        for name in names:
            if re.search(word, name, re.IGNORECASE):
                return name
    return None


def renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row under the names its format knows. Unmapped columns stay only where a grader may need them, and those that
    say where the answer stands."""
    named = columns.values()
    mapped: dict[str, Any] = {key: row[key] for key in ANSWERED_BY if key in row and key not in named}
    for target, column in columns.items():
        if column not in row:
            raise RowError("missing-column", column)
        value = row[column]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        mapped[target] = str(value) if number and target not in ("reference_answer", "margin") else value
    if "reference_answer" in columns:
        return {**{key: value for key, value in row.items() if key not in named and key not in mapped}, **mapped}
    return mapped


def checked_columns(columns: Mapping[str, str]) -> Mapping[str, str]:
    """`columns` (target → column of the file) if every target is one a format knows; UsageError if not."""
    for target in columns:
        if target not in TARGETS:
            raise UsageError(
                tr(f"--columns: {target!r} is not a target.", f"--columns: {target!r} は指定できません。"),
                tr("Targets: ", "使えるもの: ") + ", ".join(TARGETS),
                code="bad_value",
                param="columns",
            )
    return columns
