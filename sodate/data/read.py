"""Rows out of files, one at a time: JSONL, JSON, CSV, TSV and Parquet, each also .gz.

What is bounded: a JSONL line, a JSON element and a CSV field at MAX_ROW_BYTES (longer ones are skipped and said), a
JSON document at one element, Parquet at one row group. A compressed Parquet file is unpacked to a temporary file first.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.data import encodings
from sodate.data.formats import ROW_KEYS
from sodate.data.jsontext import MAX_ROW_BYTES, check_text, elements, parse_object
from sodate.data.ledger import Problem, RowError

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
PARQUET_BATCH = 512
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row before anyone asked what it means. `line` is 1-based; JSON arrays and Parquet count rows.

    `raw` is the line as it stands in a UTF-8 JSONL file (no line end), else None.
    """

    file: str
    line: int
    data: dict[str, Any]
    raw: bytes | None = None


def read_rows(path: Path, encoding: str | None = None) -> Iterator[RawRow | Problem]:
    """Every row of `path` in order: a RawRow, or the Problem that keeps it from being one.

    A Problem of severity `warning` is about the file (a BOM) and stands for no row. `encoding` converts a file that is
    not UTF-8. Raises UsageError for a missing file, an unknown kind or encoding, SodateError for a file that cannot be
    read as its kind at all.
    """
    codec = encodings.codec_named(encoding) if encoding else None
    file_kind = kind_of(path)
    name = str(path)
    if file_kind == "parquet":
        yield from _parquet(path)
        return
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_open(path))
        try:
            sample = stream.read(encodings.SAMPLE)
            detected = encodings.detect(sample)
        except _DAMAGED:
            # Cut off within the first MiB. Rows before the cut are still read below.
            detected = "utf-8"
            sample = b""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_open(path))
        wide = codec is not None and codec.startswith(("utf-16", "utf-32"))
        if codec and codec != "utf-8" and detected == "utf-8" and (wide or encodings.is_plainly_utf8(sample)):
            yield Problem(name, 1, "encoding-ignored", (encodings.NAMES[codec],))
            codec = None
        elif wide and not detected.startswith("utf-"):
            raise SodateError(
                f"{path}: {encodings.foreign_sentence(detected)}", code="encoding", param="encoding", file=path
            )
        elif wide:
            codec = detected  # its byte order is in its first bytes, whatever was typed
        used = codec or detected
        if used != "utf-8":
            stream = cast(BinaryIO, io.BufferedReader(encodings.Transcoder(stream, used), 1 << 18))
        if file_kind == "json" and _is_lines(sample.decode(used, "replace")):
            file_kind = "jsonl"
        rows = _rows(stream, name, file_kind, used)
        if used == "utf-8" or codec:
            yield from rows
            return
        sentence = encodings.foreign_sentence(used)
        for row in rows:
            if isinstance(row, RawRow) or row.severity == "set-aside":
                yield Problem(name, row.line, "encoding", (sentence,))


def kind_of(path: Path) -> str:
    """`jsonl`, `json`, `csv`, `tsv` or `parquet` by the name without `.gz`. UsageError if it is none or not there."""
    if not path.is_file():
        raise UsageError(
            tr(f"{path} is not a file.", f"{path} というファイルはありません。"),
            tr("Check the path.", "パスを確かめてください。"),
            code="file_unreadable",
            param="data",
            file=path,
        )
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower().lstrip(".")
    suffix = {"ndjson": "jsonl"}.get(suffix, suffix)
    if suffix not in KINDS:
        raise UsageError(
            tr(
                f"{path}: cannot tell the kind of file from its name.",
                f"{path}: 名前からファイルの種類が分かりません。",
            ),
            tr(
                "Use .jsonl, .json, .csv, .tsv or .parquet, optionally followed by .gz.",
                ".jsonl / .json / .csv / .tsv / .parquet（後ろに .gz も可）にしてください。",
            ),
            code="unknown_format",
            param="data",
            file=path,
        )
    return suffix


def _open(path: Path) -> BinaryIO:
    try:
        if path.suffix.lower() == ".gz":
            return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, gzip.open(path, "rb")), 1 << 18))
        return path.open("rb", buffering=1 << 18)
    except OSError as error:
        raise SodateError(
            tr(f"{path} cannot be read: {error.strerror}.", f"{path} を読めません: {error.strerror}"),
            code="file_unreadable",
            param="data",
            file=path,
        ) from None


def _is_lines(sample: str) -> bool:
    """Whether a .json file is really JSONL: its first line is a whole object and another one follows."""
    first, _, rest = sample.removeprefix("\ufeff").lstrip().partition("\n")
    if not first.startswith("{") or not rest.lstrip().startswith("{"):
        return False
    return first.rstrip().endswith("}")


def _rows(stream: BinaryIO, name: str, file_kind: str, codec: str) -> Iterator[RawRow | Problem]:
    """Dispatch, and the one place where a damaged .gz becomes a Problem."""
    line = 0
    try:
        if file_kind == "jsonl":
            source = _jsonl(stream, name, codec)
        elif file_kind == "json":
            source = _json(stream, name, codec)
        else:
            source = _csv(stream, name, "\t" if file_kind == "tsv" else ",", codec)
        for row in source:
            line = row.line
            yield row
    except _DAMAGED as error:
        reason = tr("it ends too early", "途中で終わっています") if isinstance(error, EOFError) else str(error)
        yield Problem(name, line + 1, "truncated-gzip", (reason,))


def _parse(data: bytes, name: str, line: int, codec: str, keep: bool = True) -> RawRow | Problem:
    try:
        return RawRow(name, line, parse_object(data), data if keep and codec == "utf-8" else None)
    except UnicodeDecodeError as error:
        return Problem(name, line, "encoding", (encodings.bad_line_sentence(data, error, codec),))
    except RowError as error:
        return error.problem(name, line)


def _jsonl(stream: BinaryIO, name: str, codec: str) -> Iterator[RawRow | Problem]:
    for line in itertools.count(1):
        data = stream.readline(MAX_ROW_BYTES + 1)
        if not data:
            return
        if len(data) > MAX_ROW_BYTES:
            while data and not data.endswith(b"\n"):
                data = stream.readline(1 << 20)
            yield Problem(name, line, "line-too-long", (MAX_ROW_BYTES >> 20,))
            continue
        if data.startswith(encodings.UTF8_BOM):
            data = data[3:]
            yield Problem(name, line, "bom")
        data = data.strip()
        if data:
            yield _parse(data, name, line, codec)


def _json(stream: BinaryIO, name: str, codec: str) -> Iterator[RawRow | Problem]:
    if _skip_bom(stream):
        yield Problem(name, 1, "bom")
    line = 0
    try:
        for line, element in enumerate(elements(stream, ROW_KEYS), start=1):
            if element is None:
                yield Problem(name, line, "line-too-long", (MAX_ROW_BYTES >> 20,))
            elif not element:
                extra = tr("a comma with no row beside it.", "行のない余分なカンマがあります。")
                yield Problem(name, line, "invalid-json", (extra,))
            else:
                yield _parse(element, name, line, codec, keep=False)
    except RowError as error:
        yield error.problem(name, line + 1)


def _skip_bom(stream: BinaryIO) -> bool:
    found = cast(io.BufferedReader, stream).peek(3).startswith(encodings.UTF8_BOM)
    if found:
        stream.read(3)
    return found


def _csv(stream: BinaryIO, name: str, delimiter: str, codec: str) -> Iterator[RawRow | Problem]:
    """Rows of a table with a header. A row's line is the one it starts on, quoted line breaks counted."""
    if _skip_bom(stream):
        yield Problem(name, 1, "bom")
    csv.field_size_limit(MAX_ROW_BYTES)
    # Undecodable bytes become lone surrogates, which only the row they stand in is blamed for.
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    try:
        yield from _records(_Lines(text), name, delimiter, codec)
    finally:
        text.detach()  # the stream is closed by whoever opened it


def _records(lines: _Lines, name: str, delimiter: str, codec: str) -> Iterator[RawRow | Problem]:
    found = _delimiter(lines.peek(), delimiter)
    if found != delimiter:
        yield Problem(name, 1, "delimiter", (tr("tabs", "タブ") if found == "\t" else found,))
    reader = csv.reader(lines, delimiter=found, strict=True)
    header: list[str] | None = None
    while True:
        line = lines.number + 1
        lines.record.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield from _broken(Problem(name, line, "invalid-csv", (str(error),)), lines.record)
            continue
        if not fields:
            continue
        if header is None:
            header = _checked_header(fields, name)
            continue
        joined = "".join(fields)
        if not joined.isascii() and re.search("[\udc80-\udcff]", joined):
            item = _parse(found.join(fields).encode("utf-8", "surrogateescape"), name, line, codec)
        elif "\0" in joined:
            item = Problem(name, line, "nul")
        elif len(fields) != len(header):
            item = Problem(name, line, "wrong-columns", (len(fields), len(header)))
        else:
            yield RawRow(name, line, dict(zip(header, fields, strict=True)))
            continue
        if isinstance(item, Problem) and len(fields) != len(header):
            yield from _broken(item, lines.record)
        else:
            yield item


def _broken(problem: Problem, record: list[int]) -> Iterator[Problem]:
    """The problem of a record, and one for each further line that its quotes took in: they may have been rows."""
    yield problem
    inside = tr(
        f"it is inside quotes opened on line {problem.line}", f"{problem.line} 行目で開いた引用符の中にあります"
    )
    for line in record[1:]:
        yield Problem(problem.file, line, "invalid-csv", (inside,))


def _delimiter(header: str, usual: str) -> str:
    """`usual`, or the semicolon (as Excel writes it in much of Europe) or tab that the header is separated by."""
    for delimiter in (usual, ";", "\t"):
        try:
            if len(next(csv.reader([header], delimiter=delimiter, strict=True))) > 1:
                return delimiter
        except csv.Error:
            continue
    return usual


class _Lines:
    """Lines for the csv reader, with their number; one beyond MAX_ROW_BYTES characters is skipped: a csv.Error.

    `record` gets the numbers of the lines given out that are not blank.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._next: str | None = None
        self.number = 0
        self.record: list[int] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def peek(self) -> str:
        """The first line that is not blank; blank ones before it are passed over. "" at the end."""
        line = self._text.readline(MAX_ROW_BYTES + 1)
        while line and not line.strip("\r\n"):
            self.number += 1
            line = self._text.readline(MAX_ROW_BYTES + 1)
        self._next = line
        return line

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW_BYTES + 1) if self._next is None else self._next
        self._next = None
        if not line:
            raise StopIteration
        self.number += 1
        if line.strip("\r\n"):
            self.record.append(self.number)
        if len(line) > MAX_ROW_BYTES:
            while line and not line.endswith("\n"):
                line = self._text.readline(1 << 20)
            raise csv.Error(
                tr(f"a line of more than {MAX_ROW_BYTES >> 20} MiB", f"{MAX_ROW_BYTES >> 20} MiB を超える行")
            )
        return line


def _checked_header(fields: list[str], name: str) -> list[str]:
    header = [field.strip() for field in fields]
    if "" in header or len(set(header)) != len(header):
        raise SodateError(
            tr(
                f"{name}, line 1: the header needs a different name for every column, but has {header}.",
                f"{name} の 1 行目: 見出しには列ごとに違う名前が必要です: {header}",
            ),
            code="bad_header",
            param="data",
            file=name,
            line=1,
        )
    return header


def _parquet(path: Path) -> Iterator[RawRow | Problem]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = str(path)
    with contextlib.ExitStack() as stack:
        source: Any = path
        try:
            if path.suffix.lower() == ".gz":
                source = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(stack.enter_context(_open(path)), source)
                source.seek(0)
            table = stack.enter_context(pq.ParquetFile(source))
            line = 0
            for batch in table.iter_batches(batch_size=PARQUET_BATCH):
                for index in range(batch.num_rows):
                    line += 1
                    yield _parquet_row(batch.slice(index, 1), name, line)
        except (pa.ArrowException, OSError, *_DAMAGED) as error:
            raise SodateError(
                tr(f"{name} cannot be read as Parquet: {error}.", f"{name} を Parquet として読めません: {error}"),
                tr("It may be cut off; fetch it again.", "途切れているかもしれません。取得し直してください。"),
                code="damaged",
                param="data",
                file=name,
            ) from None


def _parquet_row(row: Any, name: str, line: int) -> RawRow | Problem:
    try:
        data = _plain(row.to_pylist()[0])
        check_text(data)
        return RawRow(name, line, data)
    except UnicodeDecodeError as error:
        return Problem(name, line, "encoding", (encodings.bad_line_sentence(error.object, error, "utf-8"),))
    except RowError as error:
        return error.problem(name, line)


def _plain(value: Any) -> Any:
    """Parquet values as JSON values: a struct's absent fields (null) are dropped, times and decimals become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError("bad-number", json.dumps(value))  # NaN or Infinity, as a JSON file would be told
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        raise RowError("bad-type", tr("A column", "列"), tr("text", "文字列"), tr("binary data", "バイナリ"))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
