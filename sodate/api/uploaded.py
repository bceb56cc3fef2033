"""`examine`: an uploaded training file is read once, so that what is wrong is said while its owner still looks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, en, ja, tr
from sodate.data import examples
from sodate.data.encodings import UTF8_BOM
from sodate.data.formats import NoFormatError
from sodate.data.jsontext import MAX_ROW_BYTES, parse_object
from sodate.data.ledger import Problem, RowError
from sodate.data.read import RawRow, read_rows

DEEP = 50_000  # rows that are examined as training does; of later ones, that each is a JSON object
# What keeps a line from being a JSON object at all. All else that can be said of a row is for training to decide.
_NO_OBJECT = frozenset((
    "encoding", "truncated-gzip", "line-too-long", "packed-too-tight", "lone-surrogate", "nul", "invalid-json",
    "duplicate-key", "bad-number", "too-deep", "not-an-object",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Examined:
    """How many rows a file has, its format ("" if none fits), and the first row that can't be trained on, if any."""

    rows: int
    format: str
    line: int | None = None
    complaint: str = ""


def examine(path: Path) -> Examined:
    """Reads a JSONL file whole, in flat memory. Of very long files (DEEP) training examines the rest.

    SodateError (`invalid_line`, with the line) where a line is no JSON object in UTF-8, or where there is no line.
    """
    if not _first_line(path):
        raise _broken(1, tr("it is not one object a line", "1 行に 1 つのオブジェクトではありません"))
    try:
        name, items = examples.read_examples(path)
    except NoFormatError as error:
        rows = [_sound(item) for item in read_rows(path)]
        return Examined(sum(rows), "", 1, str(error.reason))
    except SodateError as error:
        if error.code in ("disk_full", "file_missing"):
            raise
        said, prefix = error.message, f"{path}: "
        raise _broken(1, tr(en(said).removeprefix(prefix), ja(said).removeprefix(prefix))) from None
    rows_in, first, rest = 0, None, None
    for item in items:
        line = item.line if isinstance(item, Problem) else item.row.line
        if rows_in >= DEEP and rest is None:
            rest = _objects_from(path, line)
            if rest is not None:
                rows_in += rest
                break
            rest = 0  # one of them is none, and will be named
        if isinstance(item, Problem):
            rows_in += _sound(item)
            if item.severity == "set-aside" and first is None:
                first = item
        else:
            rows_in += _sound(item.row)
    if not rows_in:
        raise _broken(1, tr("the file has no rows", "行がありません"))
    return Examined(rows_in, name, first.line if first else None, str(first.message) if first else "")


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | None, Sentence]]:
    """(line, object, why there is none) of each line of an uploaded file that is not blank, as strict as rows of
    training are: no NaN, no key twice, no half characters, no line beyond MAX_ROW_BYTES. One line is in memory at a
    time.
    """
    with path.open("rb") as stream:
        for line in itertools.count(1):
            text = stream.readline(MAX_ROW_BYTES + 1)
            if not text:
                return
            try:
                if len(text) > MAX_ROW_BYTES:
                    while text and not text.endswith(b"\n"):
                        text = stream.readline(1 << 20)
                    raise RowError("line-too-long", MAX_ROW_BYTES >> 20)
                text = text.removeprefix(UTF8_BOM).strip()
                if text:
                    yield line, parse_object(text), tr("", "")
            except UnicodeDecodeError:
                yield line, None, tr("it is not UTF-8", "UTF-8 ではありません")
            except RowError as error:
                said = error.problem("", line).message
                yield line, None, tr(en(said).rstrip("."), ja(said).rstrip("。"))


def _objects_from(path: Path, line: int) -> int | None:
    """How many JSON objects the lines from that one on are; None where one is none."""
    count = 0
    with path.open("rb") as stream:
        for _ in range(line - 1):
            stream.readline()
        while text := stream.readline(MAX_ROW_BYTES + 1):
            if len(text) > MAX_ROW_BYTES:
                return None
            if not text.strip():
                continue
            try:
                whole = isinstance(from_json(text, allow_inf_nan=False), dict)
            except ValueError:
                return None
            if not whole:
                return None
            count += 1
    return count


def _first_line(path: Path) -> bool:
    """Whether the first line could be an object by itself: a JSON document over many lines, or of a list, is none."""
    with path.open("rb") as stream:
        while (line := stream.readline(MAX_ROW_BYTES)) and not line.strip():
            pass
    line = line.removeprefix(UTF8_BOM).strip()
    return not line or (line.startswith(b"{") and line.endswith(b"}"))


def _sound(item: RawRow | Problem) -> bool:
    """Whether it stands for a row; raises where its line is no JSON object."""
    if isinstance(item, RawRow):
        return True
    if item.code in _NO_OBJECT:
        raise _broken(item.line, item.message)
    return item.severity == "set-aside"


def _broken(line: int, why: str) -> SodateError:
    return SodateError(
        tr(f"Expected file to have JSONL format, where every line is a valid JSON dictionary. Line {line}: {en(why)}",
           f"JSONL 形式 (各行が 1 つの JSON オブジェクト) のファイルにしてください。{line} 行目: {ja(why)}"),
        code="invalid_line", param="file", line=line,
    )  # fmt: skip
