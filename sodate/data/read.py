"""Rows out of files, one at a time: JSONL, JSON, CSV, TSV and Parquet, each also packed with gzip.

What is bounded: a JSONL line, a JSON element and a row of a table at MAX_ROW_BYTES (longer ones are skipped and said),
a JSON document at one element, Parquet at one row group, and how many times its own size a packed file may come to.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sodate.core import progress
from sodate.core.errors import SodateError
from sodate.core.text import blank, said_by, tr
from sodate.data import encodings, kinds, parquet, tables, unpack
from sodate.data.documents import no_row
from sodate.data.formats import ROW_KEYS
from sodate.data.jsontext import MAX_ROW_BYTES, elements, parse_object
from sodate.data.ledger import Problem, RowError


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
    read as its kind at all, or in which it is unclear what the rows are.
    """
    total, done = _lines(path) if progress.listened() else None, 0
    for done, row in enumerate(_read(path, encoding), 1):
        if done % 100 == 0:
            progress.report("rows", done, total, path.name)
        yield row
    if done >= 100:  # else what follows would be waited for under its name
        progress.report("rows", done, done, path.name)


def _lines(path: Path) -> int | None:
    """Line breaks of a file with a row a line, None of others."""
    if not path.is_file() or not path.name.lower().endswith((".jsonl", ".csv", ".tsv")):
        return None
    with path.open("rb") as stream:
        return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(1 << 20), b""))


def _read(path: Path, encoding: str | None) -> Iterator[RawRow | Problem]:
    codec = encodings.codec_named(encoding) if encoding else None
    name = str(path)
    sample = _sample(path)
    detected = encodings.detect(sample)
    text = sample.decode(detected, "replace")
    file_kind = kinds.kind_of(path, sample, text)
    packed = unpack.is_packed(path)
    if path.suffix.lower() == ".gz" and not packed and kinds.shown(text, kinds.by_name(path)) is None:
        yield Problem(name, 1, "truncated-gzip", (tr("it is not gzip", "gzip ではありません"),))
        return
    yield from _name_and_content(path, file_kind, packed)
    if file_kind == "parquet":
        for found in parquet.rows(path):
            yield found if isinstance(found, Problem) else RawRow(name, *found)
        return
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(unpack.opened(path))
        wide = codec is not None and codec.startswith(("utf-16", "utf-32"))
        if codec and codec != "utf-8" and detected == "utf-8" and (wide or encodings.is_plainly_utf8(sample)):
            yield Problem(name, 1, "encoding-ignored", (encodings.NAMES[codec],))
            codec = None
        elif wide and not detected.startswith("utf-"):
            raise SodateError(
                f"{path}: " + encodings.foreign_sentence(detected), code="encoding", param="encoding", file=path
            )
        elif wide:
            codec = detected  # its byte order is in its first bytes, whatever was typed
        used = codec or detected
        if used != "utf-8":
            stream = cast(BinaryIO, io.BufferedReader(encodings.Transcoder(stream, used), 1 << 18))
        rows = _rows(stream, name, file_kind, used)
        if used == "utf-8" or codec:
            yield from rows
            return
        sentence = encodings.foreign_sentence(used)
        for row in rows:
            if isinstance(row, RawRow) or row.severity == "set-aside":
                yield Problem(name, row.line, "encoding", (sentence,))


def _sample(path: Path) -> bytes:
    """The first MiB; less where the file is cut off within it. Rows before the cut are still read later."""
    sample = bytearray()
    with unpack.opened(path) as stream, contextlib.suppress(*unpack.DAMAGED):
        while len(sample) < encodings.SAMPLE and (chunk := stream.read1(1 << 16)):  # type: ignore[attr-defined]
            sample += chunk
    return bytes(sample[: encodings.SAMPLE])


def _name_and_content(path: Path, file_kind: str, packed: bool) -> Iterator[Problem]:
    """What the name says that the content does not."""
    said = kinds.by_name(path)
    if said != file_kind and (said, file_kind) not in (("json", "jsonl"), ("jsonl", "json"), ("tsv", "csv")):
        yield Problem(str(path), 1, "file-kind", (path.name, kinds.named(file_kind)))
    if packed != (path.suffix.lower() == ".gz"):
        how = tr("packed with gzip", "gzip で圧縮されています") if packed else tr("not packed", "圧縮されていません")
        yield Problem(str(path), 1, "file-kind", (path.name, how))


def _rows(stream: BinaryIO, name: str, file_kind: str, codec: str) -> Iterator[RawRow | Problem]:
    """Dispatch, and the one place where a damaged .gz becomes a Problem."""
    line = 0
    try:
        if file_kind == "jsonl":
            source = _jsonl(stream, name, codec)
        elif file_kind == "json":
            source = _json(stream, name, codec)
        else:
            source = _table(stream, name, "\t" if file_kind == "tsv" else ",", codec)
        for row in source:
            line = row.line
            yield row
    except unpack.UnpacksTooMuch:
        yield Problem(name, line + 1, "packed-too-tight", (unpack.RATIO,))
    except unpack.DAMAGED as error:
        reason = tr("it ends too early", "途中で終わっています") if isinstance(error, EOFError) else said_by(error)
        yield Problem(name, line + 1, "truncated-gzip", (reason,))


def _parsed(data: bytes, name: str, line: int, codec: str, keep: bool = True) -> Iterator[RawRow | Problem]:
    """The row in `data`; the problem as many times as there are rows in an array that should be one row each."""
    try:
        yield RawRow(name, line, parse_object(data), data if keep and codec == "utf-8" else None)
    except UnicodeDecodeError as error:
        yield Problem(name, line, "encoding", (encodings.bad_line_sentence(data, error, codec),))
    except RowError as error:
        yield from itertools.repeat(error.problem(name, line), error.rows)


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
        if data and (0x20 < data[0] < 0x7F or b"\0" in data or not _blank(data)):
            yield from _parsed(data, name, line, codec)


def _blank(data: bytes) -> bool:
    try:
        return blank(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _json(stream: BinaryIO, name: str, codec: str) -> Iterator[RawRow | Problem]:
    if _skip_bom(stream):
        yield Problem(name, 1, "bom")
    whole = cast(io.BufferedReader, stream).peek(64).lstrip().startswith(b"{")
    for line, element in enumerate(elements(stream, ROW_KEYS), start=1):
        if element is None:
            yield Problem(name, line, "line-too-long", (MAX_ROW_BYTES >> 20,))
        elif isinstance(element, RowError):
            yield element.problem(name, line)
        elif not element:
            extra = tr("a comma with no row beside it.", "行のない余分なカンマがあります。")
            yield Problem(name, line, "invalid-json", (extra,))
        else:
            for row in _parsed(element, name, line, codec, keep=False):
                if whole and line == 1 and isinstance(row, RawRow) and (error := no_row(row.data, name)):
                    raise error
                yield row


def _table(stream: BinaryIO, name: str, delimiter: str, codec: str) -> Iterator[RawRow | Problem]:
    if _skip_bom(stream):
        yield Problem(name, 1, "bom")

    def undecodable(data: bytes, line: int) -> Problem:
        return next(item for item in _parsed(data, name, line, codec) if isinstance(item, Problem))

    for found in tables.rows(stream, name, delimiter, undecodable):
        yield found if isinstance(found, Problem) else RawRow(name, *found)


def _skip_bom(stream: BinaryIO) -> bool:
    found = cast(io.BufferedReader, stream).peek(3).startswith(encodings.UTF8_BOM)
    if found:
        stream.read(3)
    return found
