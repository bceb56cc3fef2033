"""Replies that were made elsewhere, by another vendor, last year's system or a person, read beside their items."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import counted, en, ja, tr
from sodate.evaluate.items import EvalItem, where

REPLY, LINE = "reply", "line"


def named(given: str | Path) -> tuple[Path, str]:
    """FILE[:NAME] as a file and what its replies are called; without a name, the file's own."""
    path = Path(given)
    if not path.is_file() and ":" in str(given):
        file, _, name = str(given).rpartition(":")
        if file and name.strip() and not any(mark in name for mark in "/\\"):
            return Path(file), name.strip()
    return path, path.stem or path.name


def read(path: Path, items: Sequence[EvalItem], encoding: str | None, *, some: bool = False) -> list[str]:
    """A reply to each item: by the column `line`, the item's line in its file, or else in the order of the rows.

    `some`: the items are the first of their file, and the file may answer more of them. SodateError with file and line
    for a row without a reply, and for lines that are missing, double or not among the items.
    """
    from sodate.data.ledger import Problem
    from sodate.data.read import read_rows

    rows: list[tuple[int, dict[str, Any]]] = []
    for row in read_rows(path, encoding):
        if not isinstance(row, Problem):
            rows.append((row.line, row.data))
        elif row.severity != "warning":
            raise _wrong(path, row.line, row.message)
    texts = [(at, data, _text(path, at, data)) for at, data in rows]
    if not any(LINE in data for _, data, _ in texts):
        return _in_order(path, [text for _, _, text in texts], len(items), some)
    lines = {item.source.line: number for number, item in enumerate(items) if item.source is not None}
    found: dict[int, str] = {}
    for at, data, text in texts:
        line = data.get(LINE)
        line = int(line) if isinstance(line, str) and line.strip().isdecimal() and len(line) < 16 else line
        if not isinstance(line, int) or isinstance(line, bool):
            raise _wrong(path, at, tr("line is not a line number.", "line が行番号ではありません。"))
        if line not in lines:
            if some:
                continue
            raise _wrong(path, at, tr(f"there is no item on line {line}.", f"{line} 行目に項目がありません。"))
        if lines[line] in found:
            raise _wrong(path, at, tr(f"line {line} is answered twice.", f"{line} 行目への返答が二つあります。"))
        found[lines[line]] = text
    missing = next((item for number, item in enumerate(items) if number not in found), None)
    if missing is not None:
        place, count = where(missing, 0), len(items) - len(found)
        what = tr(f"{counted(count, 'item')} without a reply, the first is {en(place)}.",
                  f"返答のない項目が {count} 件あります (最初は {ja(place)})。")  # fmt: skip
        raise _wrong(path, None, what)
    return [found[number] for number in range(len(items))]


def _in_order(path: Path, texts: list[str], count: int, some: bool) -> list[str]:
    if len(texts) < count or (len(texts) > count and not some):
        raise _wrong(path, None, tr(f"replies: {len(texts)}, for {counted(count, 'item')}.",
                                    f"項目 {count} 件に対し、返答が {len(texts)} 件あります。"))  # fmt: skip
    return texts[:count]


def _text(path: Path, at: int, data: dict[str, Any]) -> str:
    """The reply as graders see it: text, a message, or any other JSON value as text; never what was thought before."""
    from sodate.data.ledger import RowError
    from sodate.data.messages import openai_messages
    from sodate.data.tasks import reply_text
    from sodate.render.reasoning import answer

    value = data.get(REPLY)
    if (
        isinstance(value, dict)
        and "role" in value
        and (value.get("tool_calls") or isinstance(value.get("content"), str))
    ):
        try:
            (message,) = openai_messages([{**value, "role": "assistant"}], [])
        except RowError as error:
            raise _wrong(path, at, error.problem(str(path), at).message) from None
        value = reply_text(message)
    if value is None:
        raise _wrong(path, at, tr("the row has no reply.", "この行に reply がありません。"))
    return answer(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check_names(names: Sequence[str], models: Sequence[str]) -> None:
    """UsageError where two contestants would have one name."""
    everybody = [*models, *names]
    twice = next((name for name in everybody if everybody.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            tr(f"Two contestants are called {twice!r}.", f"{twice!r} という名前が重なっています。"),
            tr("Give replies a name: --replies FILE:NAME.", "--replies ファイル:名前 のように名前を付けてください。"),
            code="bad_value", param="replies",
        )  # fmt: skip


def _wrong(path: Path, line: int | None, what: str) -> SodateError:
    place = f"{path}:{line}" if line is not None else str(path)
    return SodateError(
        tr(f"{place}: {en(what)}", f"{place}: {ja(what)}"),
        tr("A row is {\"reply\": …}, with the item's number as `line` or in the order of the items.",
           "各行は {\"reply\": …} とし、項目の行番号を line に書くか、項目と同じ順に並べてください。"),
        code="wrong_rows", param="replies", file=path, line=line,
    )  # fmt: skip
