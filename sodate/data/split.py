"""`sodate data split`: two files before anything else happens, so that nothing learnt from one can leak from the other.

A row's side depends on its own prompt, group or time (and the seed), not on its place in the file: rows added later
move nobody, except where the time boundary itself moves.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file
from sodate.core.text import tr
from sodate.data.compare import asked
from sodate.data.ledger import Ledger, Problem, RowError
from sodate.data.load import Loaded, load
from sodate.data.read import RawRow, read_rows
from sodate.data.similar import normalise

By = Literal["hash", "group", "time"]
_WHOLE = 1 << 63


@dataclass(frozen=True, slots=True)
class Split:
    """How many rows went where; rows that could not be read are in the ledger and in neither file."""

    train: int
    held_out: int
    ledger: Ledger


def split(
    paths: Sequence[Path],
    train: Path,
    held_out: Path,
    *,
    by: By = "hash",
    share: float = 0.1,
    column: str | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Split:
    """Writes about `share` of the rows to `held_out`, the others to `train`, each file complete or not at all.

    `hash`: by the normalised prompt without system messages, so the same question never stands on both sides.
    `group`: by the value of `column` (customer, document, …), a group never being split.
    `time`: the rows with the latest `column` are held out; rows of one moment stay together.
    Lines of a UTF-8 JSONL file are copied byte for byte, other rows are written as JSONL. Both sides get at least one
    row; SodateError if the rows have only one prompt, group or moment.
    """
    _check(paths, (train, held_out), by, share, column)
    ledger = Ledger()
    keys: array[Any] = array("d" if by == "time" else "Q")
    for item in _keyed(paths, by, column or "", seed, columns, encoding):
        if isinstance(item, Problem):
            ledger.add(item)
        else:
            ledger.use()
            keys.append(item[1])
    boundary = _boundary(keys, by, share)
    counts = [0, 0]
    with ExitStack() as stack:
        outputs = [stack.enter_context(atomic_file(path)) for path in (train, held_out)]
        for item in _keyed(paths, by, column or "", seed, columns, encoding):
            if isinstance(item, Problem):
                continue
            row, key = item
            side = int(key >= boundary if by == "time" else key < boundary)
            outputs[side].write((row.raw or json.dumps(row.data, ensure_ascii=False).encode()) + b"\n")
            counts[side] += 1
    return Split(counts[0], counts[1], ledger)


def _check(paths: Sequence[Path], outputs: tuple[Path, Path], by: By, share: float, column: str | None) -> None:
    if not 0 < share < 1:
        raise UsageError(
            tr(f"The held-out share {share} is out of range.", f"評価用の割合 {share} は範囲外です。"),
            tr("Choose a value between 0 and 1, such as 0.1.", "0.1 のような 0 と 1 の間の値にしてください。"),
        )
    if (by == "hash") == (column is not None):
        raise UsageError(
            tr(
                "A split by group or by time needs a column, one by hash takes none.",
                "group と time には列の指定が必要で、hash には不要です。",
            )
        )
    resolved = [path.resolve() for path in (*paths, *outputs)]
    if len(set(resolved)) != len(resolved):
        raise UsageError(
            tr("Every input and output must be a different file.", "入力と出力はすべて別のファイルにしてください。")
        )


def _keyed(
    paths: Sequence[Path],
    by: By,
    column: str,
    seed: int,
    columns: Mapping[str, str] | None,
    encoding: str | None,
) -> Iterator[Problem | tuple[RawRow, float]]:
    """Every readable row with the number its side depends on: 63 hash bits, or seconds since 1970."""
    for path in paths:
        for item in load(path, columns, encoding)[1] if by == "hash" else read_rows(path, encoding):
            if isinstance(item, Problem):
                yield item
                continue
            row = item.row if isinstance(item, Loaded) else item
            try:
                if isinstance(item, Loaded):
                    yield row, _hash(normalise(asked(item.example)), seed)
                elif row.data.get(column) in (None, ""):
                    raise RowError("missing-column", column)
                elif by == "group":
                    yield row, _hash(json.dumps(row.data[column], ensure_ascii=False, sort_keys=True), seed)
                else:
                    yield row, _seconds(row.data[column], column)
            except RowError as error:
                yield Problem(row.file, row.line, error.code, error.details)


def _hash(text: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _seconds(value: object, column: str) -> float:
    """A time as seconds since 1970: ISO 8601, 2026/1/31, 2026年1月31日, or a number. Without a zone: UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    date = re.match(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?", text)
    if date:
        year, month, day = map(int, date.groups())
        text = f"{year:04}-{month:02}-{day:02}{text[date.end() :]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise RowError("bad-time", text[:40], column) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _boundary(keys: Sequence[float], by: By, share: float) -> float:
    """Hash and group: keys below it are held out. Time: keys from it on are. Neither side stays empty."""
    if not keys or min(keys) == max(keys):
        raise SodateError(
            tr(
                f"Cannot split {len(keys)} rows by {by}: there is only one prompt, group or moment.",
                f"{len(keys)} 行を {by} で分割できません。質問・グループ・日時が 1 種類しかありません。",
            ),
            tr("Add rows, or split in another way.", "行を増やすか、別の分け方にしてください。"),
        )
    if by != "time":
        return min(max(int(share * _WHOLE), min(keys) + 1), max(keys))
    ordered = sorted(keys)
    boundary = ordered[min(len(keys) - 1, round(len(keys) * (1 - share)))]
    return boundary if boundary > ordered[0] else next(key for key in ordered if key > ordered[0])
