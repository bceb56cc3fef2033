"""Rows of Parquet. Memory is bounded by one row group as it lies in the file: repeated text is held once."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.data import encodings, unpack
from sodate.data.jsontext import MAX_ROW_BYTES, check_text, strings
from sodate.data.ledger import Problem, RowError, unforeseen

BATCH = 512  # rows decoded at once
MAX_GROUP = 4 << 30  # bytes of a row group, as its footer says
RATIO = 2000  # times its own size that a file's text may come to, beyond what any file may
ITEM = 8  # bytes that a value in a list counts as: a thousand equal ones take a few in the file
MAX_ITEMS = MAX_ROW_BYTES // ITEM  # of the lists of a row

Row = dict[str, Any]


def rows(path: Path) -> Iterator[tuple[int, Row] | Problem]:
    """(row number, row) of a Parquet file, also a gzipped one. SodateError for a file that can't be read at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = str(path)
    with ExitStack() as stack:
        try:
            source: Any = path
            if unpack.is_packed(path):
                source = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(stack.enter_context(unpack.opened(path)), source)
                source.seek(0)
            footer = pq.read_metadata(source)
            # As dictionaries, so that one long text in a million rows is one text in memory.
            texts = [
                footer.schema.column(i).path
                for i in range(footer.num_columns)
                if footer.schema.column(i).physical_type == "BYTE_ARRAY"
            ]
            table = stack.enter_context(pq.ParquetFile(source, read_dictionary=texts))
            groups = range(footer.num_row_groups)
            if (largest := max((footer.row_group(i).total_byte_size for i in groups), default=0)) > MAX_GROUP:
                raise _too_large(name, tr(f"a row group of {largest >> 30} GiB", f"{largest >> 30} GiB の行グループ"))
            if any(_crowded(footer.row_group(i)) for i in groups):
                raise _too_large(
                    name, tr(f"lists of {MAX_ITEMS} values in a row", f"1 行に {MAX_ITEMS} 個を超えるリスト")
                )
            left_out = _left_out(table.schema_arrow)
            for index, (column, why) in left_out.items():
                what = tr(f"Column {index + 1} {column!r}", f"{index + 1} 列目 {column!r}")
                yield Problem(name, 1, "left-out", (what, why))
            kept = [index for index in range(len(table.schema_arrow)) if index not in left_out]
            free = max(unpack.FREE, RATIO * path.stat().st_size)
            line = 0
            for batch in table.iter_batches(batch_size=BATCH):
                for index in range(batch.num_rows):
                    line += 1
                    item, size = _row(batch, index, kept, name, line)
                    yield item
                    free -= size
                    if free < 0:
                        raise _too_large(
                            name, tr(f"text of more than {RATIO} times its size", f"ファイルの {RATIO} 倍を超える文章")
                        )
        except (pa.ArrowException, ValueError, TypeError, OSError, *unpack.DAMAGED) as error:
            raise SodateError(
                tr(f"{name} cannot be read as Parquet: {error}.", f"{name} を Parquet として読めません: {error}"),
                tr("It may be cut off; fetch it again.", "途切れているかもしれません。取得し直してください。"),
                code="damaged",
                param="data",
                file=name,
            ) from None
        except unpack.UnpacksTooMuch:
            raise _too_large(
                name, tr(f"more than {unpack.RATIO} times its size", f"元の {unpack.RATIO} 倍を超える大きさ")
            ) from None


def _crowded(group: Any) -> bool:
    """Whether the rows of a group have more than MAX_ITEMS values of one column each, on average."""
    return any(group.column(i).num_values > MAX_ITEMS * max(1, group.num_rows) for i in range(group.num_columns))


def _too_large(name: str, what: Any) -> SodateError:
    return SodateError(
        f"{name}: " + tr("the file unpacks to ", "展開すると次の大きさになります: ") + what + tr(".", "。"),
        tr(
            "If it is meant to be so, write it again in smaller row groups, or as JSON lines.",
            "意図した内容であれば、小さい行グループか JSON Lines で書き直してください。",
        ),
        code="damaged",
        param="data",
        file=name,
    )


def _left_out(schema: Any) -> dict[int, tuple[str, Any]]:
    """Columns that are not read, by number: what each is called, and why."""
    import pyarrow as pa

    count = Counter(schema.names)
    found: dict[int, tuple[str, Any]] = {}
    for index, (column, kind) in enumerate(zip(schema.names, schema.types, strict=True)):
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if count[column] > 1:
            found[index] = column, tr("another column has the same name", "同じ名前の列が他にもあります")
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
            found[index] = column, tr("it holds binary data, not text", "文字ではなくバイナリです")
    return found


def _row(batch: Any, index: int, kept: list[int], name: str, line: int) -> tuple[tuple[int, Row] | Problem, int]:
    """The row, or why it is none, and the length of its text and lists."""
    try:
        scalars = {batch.schema.names[i]: batch.column(i)[index] for i in kept}
        size = ITEM * sum(map(_items, scalars.values()))
        if size > MAX_ROW_BYTES:  # before Python makes an object of each
            return Problem(name, line, "line-too-long", (MAX_ROW_BYTES >> 20,)), size
        data = {column: _plain(_value(scalar)) for column, scalar in scalars.items()}
        size += sum(map(len, strings(data)))
        check_text(data)
        if size > MAX_ROW_BYTES:
            return Problem(name, line, "line-too-long", (MAX_ROW_BYTES >> 20,)), size
        return (line, data), size
    except UnicodeDecodeError as error:
        return Problem(name, line, "encoding", (encodings.bad_line_sentence(error.object, error, "utf-8"),)), 0
    except RowError as error:
        return error.problem(name, line), 0
    except Exception as error:
        return unforeseen(error, name, line), 0


def _items(scalar: Any) -> int:
    """How many values the lists of a cell hold, those of lists within them too."""
    values = getattr(scalar, "values", None)  # an array, of a list or a map that is not null; a struct has a method
    if callable(values):
        return sum(map(_items, values())) if scalar.is_valid else 0
    return 0 if values is None else _within(values)


def _within(values: Any) -> int:
    if hasattr(values, "value_lengths"):  # an array of lists or maps
        return len(values) + _within(values.flatten())
    fields = values.flatten() if hasattr(values, "field") else ()  # of structs
    return len(values) + sum(map(_within, fields))


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        if not hasattr(scalar, "value"):
            raise
        return str(scalar.value)  # a time that Python's dates can't hold


def _plain(value: Any) -> Any:
    """Parquet values as JSON values: a struct's absent fields (null) are dropped, times and decimals become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return _map(value)
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError("bad-number", json.dumps(value))  # NaN or Infinity, as a JSON file would be told
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        raise RowError("bad-type", tr("A column", "列"), tr("text", "文字列"), tr("binary data", "バイナリ"))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _map(pairs: list[tuple[Any, Any]]) -> Row:
    found: Row = {}
    for key, item in pairs:
        if str(key) in found:
            raise RowError("duplicate-key", str(key))
        found[str(key)] = _plain(item)
    return found
