"""Rows of CSV and its kin. One harmless oddity (a column without a name, `sep=;`) costs a warning, not the file."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, blank, en, ja, said_by, tr
from sodate.data import jsontext
from sodate.data.columns import known_names
from sodate.data.kinds import split_by
from sodate.data.ledger import Problem

MAX_RECORD_LINES = 100_000  # of one row, before an open quote is suspected
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_BAD_BYTES = re.compile("[\udc80-\udcff]")
_EDGE = "\ufeff\u200b\u2060" + "".join(chr(code) for code in range(0x3001) if chr(code).isspace())  # around a name

csv.field_size_limit(jsontext.MAX_ROW_BYTES)  # Python has one for all of a process: once, not with every file

Row = dict[str, str]
Undecodable = Callable[[bytes, int], Problem]
"""What to say of a row whose bytes do not decode, and its line."""


def rows(stream: BinaryIO, name: str, delimiter: str, undecodable: Undecodable) -> Iterator[tuple[int, Row] | Problem]:
    """(line, row) of a table with a header. A row's line is the one it starts on, quoted line breaks counted."""
    # Undecodable bytes become lone surrogates, which only the row they stand in is blamed for.
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    try:
        yield from _records(_Lines(text), name, delimiter, undecodable)
    finally:
        text.detach()  # the stream is closed by whoever opened it


def _records(lines: _Lines, name: str, usual: str, undecodable: Undecodable) -> Iterator[tuple[int, Row] | Problem]:
    hint = _SEP.fullmatch(lines.peek())
    if hint:
        next(lines)
        lines.peek()
    delimiter = hint[1] if hint else _delimiter(lines.peek(), usual)
    if delimiter != usual or hint:
        yield Problem(
            name, max(1, lines.number), "delimiter", (tr("tabs", "タブ") if delimiter == "\t" else delimiter,)
        )
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns: list[str | None] | None = None
    named = 0  # columns up to the last that has a name; a row may end behind it
    longer_said = False
    while True:
        line = lines.number + 1
        lines.begin()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from _broken(Problem(name, line, "invalid-csv", (said_by(error),)), lines.record)
            continue
        if all(map(blank, fields)):
            continue
        if columns is None:
            columns = _columns(fields, name, line)
            named = max(index for index, column in enumerate(columns, 1) if column is not None)
            yield from _left_out(fields, columns, name, line)
            continue
        extra = fields[len(columns) :]
        if extra and all(map(blank, extra)):
            if not longer_said:
                longer_said = True
                yield Problem(name, line, "left-out", (_column(len(columns)), _ENDS_EMPTY))
            fields = fields[: len(columns)]
        fits = named <= len(fields) <= len(columns)  # what a row costs is in proportion to it, not to the header
        joined = "".join(fields)
        if not joined.isascii() and _BAD_BYTES.search(joined):
            problem = undecodable(delimiter.join(fields).encode("utf-8", "surrogateescape"), line)
        elif "\0" in joined:
            problem = Problem(name, line, "nul")
        elif not fits:
            problem = Problem(name, line, "wrong-columns", (len(fields), len(columns)))
        else:
            yield from _lost(fields, columns, name, line)
            yield line, {column: field for column, field in zip(columns, fields, strict=False) if column is not None}
            continue
        if not fits:
            yield from _broken(problem, lines.record)
        else:
            yield problem


def _broken(problem: Problem, record: Sequence[int]) -> Iterator[Problem]:
    """The problem of a record, and one for each further line that its quotes took in: they may have been rows."""
    yield problem
    inside = tr(
        f"it is inside quotes opened on line {problem.line}", f"{problem.line} 行目で開いた引用符の中にあります"
    )
    for line in record[1:]:
        yield Problem(problem.file, line, "invalid-csv", (inside,))


_NAMELESS = tr("it has no name", "名前がありません")
_TWICE = tr("another column has the same name", "同じ名前の列が他にもあります")
_ENDS_EMPTY = tr("rows end in empty fields beyond the header", "行の末尾に、見出しにない空の項目があります")


def _column(index: int, name: str = "") -> Sentence:
    return (
        tr(f"Column {index + 1} {name!r}", f"{index + 1} 列目 {name!r}")
        if name
        else tr(f"Column {index + 1}", f"{index + 1} 列目")
    )


def _columns(fields: Sequence[str], name: str, line: int) -> list[str | None]:
    """The names of the columns; None for one that is left out, without a name or with one that another has too."""
    if any(_BAD_BYTES.search(field) or "\0" in field for field in fields):
        raise SodateError(
            tr(
                f"{name}, line {line}: the header is not UTF-8 text.",
                f"{name} の {line} 行目: 見出しが UTF-8 ではありません。",
            ),
            tr("Save the file as UTF-8, or give --encoding.", "UTF-8 で保存し直すか、--encoding を指定してください。"),
            code="bad_header",
            param="data",
            file=name,
            line=line,
        )
    names = [field.strip(_EDGE) for field in fields]
    count = Counter(names)
    kept = [None if blank(field) or count[field] > 1 else field for field in names]
    if not any(kept):
        raise SodateError(
            tr(
                f"{name}, line {line}: the header has no column with a name of its own.",
                f"{name} の {line} 行目: 見出しに、他と重ならない名前の列がありません。",
            ),
            code="bad_header",
            param="data",
            file=name,
            line=line,
        )
    return kept


def _left_out(fields: Sequence[str], columns: Sequence[str | None], name: str, line: int) -> Iterator[Problem]:
    for index, (field, column) in enumerate(zip(fields, columns, strict=True)):
        if column is None:
            twice = not blank(field)
            yield Problem(
                name, line, "left-out", (_column(index, field.strip() if twice else ""), _TWICE if twice else _NAMELESS)
            )


def _lost(fields: Sequence[str], columns: Sequence[str | None], name: str, line: int) -> Iterator[Problem]:
    """What a row says in columns that are left out; the numbers of a first one without a name count the rows."""
    for index, (field, column) in enumerate(zip(fields, columns, strict=False)):
        if column is None and not blank(field) and not (index == 0 and field.strip().isdecimal()):
            said = tr(f"{en(_column(index))} of this row", f"この行の{ja(_column(index))}")
            yield Problem(name, line, "left-out", (said, tr(f"it says {field[:40]!r}", f"内容は {field[:40]!r} です")))


def _delimiter(header: str, usual: str) -> str:
    """What separates the header: the usual sign, or the one that makes more names of it that formats know."""
    found = split_by(header)
    best = max(found, key=lambda sign: (known_names(found[sign]), sign == usual), default=usual)
    return usual if usual in found and not known_names(found[best]) else best


class _Lines:
    """Lines for the csv reader, with their number; a line or a row beyond its bounds is skipped: a csv.Error.

    `record` gets the numbers of the lines given out since `begin` that are not blank.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._next: str | None = None
        self._size = 0
        self.number = 0
        self.record: list[int] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def begin(self) -> None:
        """A new row begins."""
        self.record.clear()
        self._size = 0

    def peek(self) -> str:
        """The next line that is not blank; blank ones before it are passed over. "" at the end."""
        if self._next is None:
            self._next = self._text.readline(jsontext.MAX_ROW_BYTES + 1)
        while self._next and blank(self._next):
            self.number += 1
            self._next = self._text.readline(jsontext.MAX_ROW_BYTES + 1)
        return self._next

    def __next__(self) -> str:
        line = self._text.readline(jsontext.MAX_ROW_BYTES + 1) if self._next is None else self._next
        self._next = None
        if not line:
            raise StopIteration
        self.number += 1
        if line.strip("\r\n"):
            self.record.append(self.number)
        self._size += len(line)
        if self._size > jsontext.MAX_ROW_BYTES:
            whole = len(line) > jsontext.MAX_ROW_BYTES
            while line and not line.endswith("\n"):
                line = self._text.readline(1 << 20)
            what = (
                tr("a line", "1 行")
                if whole
                else tr("a row (is a quote open?)", "1 件（引用符の閉じ忘れかもしれません）")
            )
            raise csv.Error(
                tr(
                    f"{en(what)} of more than {jsontext.MAX_ROW_BYTES >> 20} MiB",
                    f"{jsontext.MAX_ROW_BYTES >> 20} MiB を超える{ja(what)}",
                )
            )
        if len(self.record) > MAX_RECORD_LINES:
            raise csv.Error(
                tr(
                    f"a row of more than {MAX_RECORD_LINES} lines (is a quote open?)",
                    f"{MAX_RECORD_LINES} 行を超える 1 件（引用符の閉じ忘れかもしれません）",
                )
            )
        return line
