"""What kind of file it is: by its content first, by its name where the content leaves it open."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import Sentence, blank, tr
from sodate.data.columns import known_names

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
DELIMITERS = (",", ";", "\t", "|", "，")  # the last as Japanese and Chinese keyboards write a comma
_HEAD = 1 << 16  # characters of the beginning that are looked at

_ARRAY_OF_ROWS = re.compile(r"\[\s*\{")
_FORMATS = (  # first bytes, what that is, the way out
    (b"PK\x03\x04", tr("a ZIP archive (as Excel's .xlsx is)", "ZIP ファイル（Excel の .xlsx など）")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", tr("an old Office document (.xls, .doc)", "古い Office 文書（.xls、.doc）")),
    (b"%PDF-", tr("a PDF", "PDF ファイル")),
    (b"SQLite format 3\0", tr("an SQLite database", "SQLite データベース")),
    (b"\x28\xb5\x2f\xfd", tr("compressed with zstd", "zstd で圧縮されたファイル")),
    (b"BZh", tr("compressed with bzip2", "bzip2 で圧縮されたファイル")),
    (b"\xfd7zXZ\0", tr("compressed with xz", "xz で圧縮されたファイル")),
    (b"\x1f\x8b", tr("compressed twice", "二重に圧縮されたファイル")),
    (b"ARROW1", tr("an Arrow file", "Arrow ファイル")),
    (b"Obj\x01", tr("an Avro file", "Avro ファイル")),
    (b"ORC", tr("an ORC file", "ORC ファイル")),
    (b"version https://git-lfs", tr("only a pointer of Git LFS", "Git LFS のポインターだけのファイル")),
    (b"<!doctype html", tr("a web page", "ウェブページ")),
    (b"<html", tr("a web page", "ウェブページ")),
    (b"<?xml", tr("XML", "XML ファイル")),
)
_NAMED = {
    "jsonl": tr("JSON lines", "JSON Lines"),
    "json": tr("JSON", "JSON"),
    "csv": tr("a table (CSV)", "表（CSV）"),
    "tsv": tr("a table (TSV)", "表（TSV）"),
    "parquet": tr("Parquet", "Parquet"),
}


def named(kind: str) -> Sentence:
    return _NAMED[kind]


def by_name(path: Path) -> str | None:
    """The kind that the name says, `.gz` left out; None where it says none."""
    suffix = (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower().lstrip(".")
    suffix = {"ndjson": "jsonl"}.get(suffix, suffix)
    return suffix if suffix in KINDS else None


def kind_of(path: Path, sample: bytes, text: str) -> str:
    """The kind of a file that begins with `sample`, which reads as `text`.

    SodateError for content that is no rows at all, UsageError where neither content nor name tells.
    """
    said = by_name(path)
    if sample.startswith(b"PAR1"):
        return "parquet"
    begins = sample[:64].lstrip().lower()
    for mark, what in _FORMATS:
        if sample.startswith(mark) or (mark[:1] in b"<v" and begins.startswith(mark)):
            raise SodateError(
                f"{path}: " + tr("the file is ", "このファイルは ") + what + tr(".", "です。"),
                tr(
                    "Save the rows as CSV (UTF-8), JSON lines or Parquet.",
                    "CSV (UTF-8)、JSON Lines、Parquet のどれかで保存し直してください。",
                ),
                code="unknown_format",
                file=path,
            )
    found = shown(text, said)
    if found is not None:
        return found
    if said == "parquet":
        raise SodateError(
            tr(
                f"{path} is not a Parquet file: it does not begin as one.",
                f"{path} は Parquet ファイルではありません。",
            ),
            tr("Fetch it again, or name it for what it is.", "取得し直すか、内容に合った名前にしてください。"),
            code="unknown_format",
            param="data",
            file=path,
        )
    if said is None:
        raise UsageError(
            tr(
                f"{path}: cannot tell the kind of file from its name or its beginning.",
                f"{path}: 名前からも先頭の内容からもファイルの種類が分かりません。",
            ),
            tr(
                "Use .jsonl, .json, .csv, .tsv or .parquet, optionally followed by .gz.",
                ".jsonl / .json / .csv / .tsv / .parquet（後ろに .gz も可）にしてください。",
            ),
            code="unknown_format",
            param="data",
            file=path,
        )
    return said


def shown(text: str, said: str | None) -> str | None:
    """The kind that a text's beginning shows, the name saying `said`; None where it shows none."""
    text = text[:_HEAD].lstrip("\ufeff").lstrip()
    first, _, rest = text.partition("\n")
    if said in ("csv", "tsv", "parquet", None):
        if _is_object(first):
            return "jsonl"
        return "json" if _ARRAY_OF_ROWS.match(text) else _table(first) if said in ("parquet", None) else None
    if said == "json":
        # JSONL under another name: its first line is a whole object and another one follows.
        if first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{"):
            return "jsonl"
        return "json" if text[:1] in ("{", "[") else _table(first)
    if _ARRAY_OF_ROWS.match(text) and (blank(rest) or not _is_json(first)):
        return "json"  # an array, over several lines or on the only one
    return "jsonl" if text[:1] in ("{", "[") else _table(first)


def _table(header: str) -> str | None:
    """`csv` if a line is a header that names two columns formats know."""
    return "csv" if any(known_names(fields) >= 2 for fields in split_by(header).values()) else None


def split_by(header: str) -> dict[str, list[str]]:
    """The fields of a header under each delimiter that makes more than one of it."""
    found = {}
    for delimiter in DELIMITERS:
        try:
            fields = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        if len(fields) > 1:
            found[delimiter] = fields
    return found


def _is_object(line: str) -> bool:
    return line.startswith("{") and (_is_json(line) or bool(re.match(r'\{\s*"[^"]*"\s*:', line)))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
