"""`sodate data split`: two files before anything else happens, so that nothing learnt from one can leak from the other.

A row's side depends on its own prompt, group or time (and the seed), not on its place in the file: rows added later
move nobody, except where the time boundary itself moves, or where an added row asks what is an earlier turn of others.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import atomic_file
from sodate.core.text import tr
from sodate.data.check import changed, stamp_of
from sodate.data.compare import prompts as prompts_of
from sodate.data.examples import ParsedRow, read_examples
from sodate.data.ledger import Ledger, Problem, RowError, unforeseen
from sodate.data.prompt_groups import PromptGroups
from sodate.data.read import RawRow, read_rows
from sodate.data.similar import comparable

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

    `hash`: by the prompt as leaks are found, without system messages. No training row has in any turn what a held-out
    row asks: a conversation goes with the row that asks its beginning only. Where a beginning is so common that these
    would fill a side, they are free, and the rows that ask no more than it are trained.
    `group`: by the value of `column` (customer, document, …), a group never being split.
    `time`: the rows with the latest `column` are held out; rows of one moment stay together.
    Lines of a UTF-8 JSONL file are copied byte for byte, other rows are written as JSONL. Both sides get at least one
    row; SodateError if the rows have only one prompt, group or moment.
    """
    _check(paths, (train, held_out), by, share, column)
    stamps = [stamp_of(path) for path in paths]
    ledger = Ledger()
    if by == "hash":
        examples = (item for path in paths for item in read_examples(path, columns, encoding)[1])
        is_held_out = _by_prompt(examples, share, seed, ledger)
    else:
        rows = (row for path in paths for row in read_rows(path, encoding))
        is_held_out = _by_column(rows, by, column or "", share, seed, ledger)
    used = (
        row
        for path in paths
        for row in read_rows(path, encoding)
        if isinstance(row, RawRow) and not ledger.is_aside(row.file, row.line)
    )
    with ExitStack() as stack:
        outputs = [stack.enter_context(atomic_file(path)) for path in (train, held_out)]
        for row, side in zip(used, is_held_out, strict=False):  # as many, or a file changed
            outputs[int(side)].write((row.raw or json.dumps(row.data, ensure_ascii=False).encode()) + b"\n")
        for path, stamp in zip(paths, stamps, strict=True):
            if stamp_of(path) != stamp:
                raise changed(path)
    count = int(is_held_out.sum())
    return Split(len(is_held_out) - count, count, ledger)


def _check(paths: Sequence[Path], outputs: tuple[Path, Path], by: By, share: float, column: str | None) -> None:
    if not 0 < share < 1:
        raise UsageError(
            tr(f"The held-out share {share} is out of range.", f"評価用の割合 {share} は範囲外です。"),
            tr("Choose a value between 0 and 1, such as 0.1.", "0.1 のような 0 と 1 の間の値にしてください。"),
            code="bad_value",
            param="share",
        )
    if (by == "hash") == (column is not None):
        raise UsageError(
            tr(
                "A split by group or by time needs a column, one by hash takes none.",
                "group と time には列の指定が必要で、hash には不要です。",
            ),
            code="bad_value",
            param="column",
        )
    if wrong := next((path for path in outputs if path.suffix.lower() not in ("", ".jsonl", ".ndjson")), None):
        raise UsageError(
            tr(
                f"{wrong}: both sides are written as JSON lines.",
                f"{wrong}: 出力は JSON Lines 形式です。",
            ),
            tr(f"Name it {wrong.stem}.jsonl.", f"{wrong.stem}.jsonl という名前にしてください。"),
            code="bad_value",
            param="train",
            file=wrong,
        )
    resolved = [path.resolve() for path in (*paths, *outputs)]
    if twice := next((path for path in resolved if resolved.count(path) > 1), None):
        raise UsageError(
            tr(f"{twice} is named twice.", f"{twice} が二度指定されています。"),
            tr("Every input and output must be a different file.", "入力と出力はすべて別のファイルにしてください。"),
            code="bad_value",
            param="train",
            file=twice,
        )


def _by_prompt(items: Iterable[Problem | ParsedRow], share: float, seed: int, ledger: Ledger) -> NDArray[np.bool_]:
    """Which rows are held out, by the hashes of what they ask. Rows that cannot be read go to the ledger."""
    prompts = PromptGroups()
    for item in items:
        if isinstance(item, Problem):
            ledger.add(item)
        else:
            ledger.use()
            prompts.add(_hash(comparable(text), seed) for text in prompts_of(item.example))
    _refuse_none(len(prompts), ledger)
    keys = prompts.keys(min(share, 1 - share) * len(prompts))
    held_out = prompts.spread(keys < _hash_boundary(keys, "hash", share))
    if held_out.all():
        raise _indivisible(len(held_out), "hash")
    return held_out


def _by_column(
    rows: Iterable[Problem | RawRow], by: By, column: str, share: float, seed: int, ledger: Ledger
) -> NDArray[np.bool_]:
    """The same by the group or time in `column`."""
    keys: array[Any] = array("d" if by == "time" else "Q")
    for row in rows:
        if isinstance(row, Problem):
            ledger.add(row)
            continue
        try:
            value = row.data.get(column)
            if value in (None, ""):
                raise RowError("missing-column", column)
            if by == "time":
                keys.append(_seconds(value, column))
            else:
                keys.append(_hash(json.dumps(value, ensure_ascii=False, sort_keys=True), seed))
            ledger.use()
        except RowError as error:
            ledger.add(error.problem(row.file, row.line))
        except Exception as error:
            ledger.add(unforeseen(error, row.file, row.line))
    _refuse_none(len(keys), ledger)
    numbers = np.asarray(keys)
    if by == "time":
        return numbers >= _time_boundary(numbers, share)
    return numbers < _hash_boundary(numbers, by, share)


def _refuse_none(rows: int, ledger: Ledger) -> None:
    if not rows:
        problem = next(iter(ledger.set_aside), None)
        where = f"{problem.file}:{problem.line}: {problem.message}" if problem else ""
        raise SodateError(
            tr("There is no row to split.", "分割できる行がありません。"), where, code="no_rows", param="data"
        )


def _hash(text: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _seconds(value: object, column: str) -> float:
    """A time as seconds since 1970: ISO 8601, 20260131, 2026/1/31, 2026年1月31日, or a number. Without a zone: UTC.

    A number other than YYYYMMDD is taken as it is: milliseconds do as well, if the whole column is in them.
    """
    text = unicodedata.normalize("NFKC", str(value)).strip()
    # Only dates to `fromisoformat`, which takes the digits after the eighth for a time of day in the year 1712.
    if re.fullmatch(r"\d{8}", text) or not re.fullmatch(r"\d+(\.\d+)?", text):
        date = re.match(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?", text)
        if date:
            year, month, day = map(int, date.groups())
            text = f"{year:04}-{month:02}-{day:02}{text[date.end() :]}"
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise RowError("bad-time", str(value)[:40], column)
    return seconds


def _hash_boundary(keys: NDArray[np.uint64], by: By, share: float) -> int:
    """Keys below it are held out. Neither side stays empty."""
    if not keys.size or keys.min() == keys.max():
        raise _indivisible(len(keys), by)
    return min(max(int(share * _WHOLE), int(keys.min()) + 1), int(keys.max()))


def _time_boundary(keys: NDArray[np.float64], share: float) -> float:
    """Keys from it on are held out. Neither side stays empty."""
    ordered = np.sort(keys)
    if not ordered.size or ordered[0] == ordered[-1]:
        raise _indivisible(len(keys), "time")
    boundary = ordered[min(len(keys) - 1, round(len(keys) * (1 - share)))]
    return float(boundary if boundary > ordered[0] else ordered[ordered > ordered[0]][0])


def _indivisible(rows: int, by: By) -> SodateError:
    return SodateError(
        tr(
            f"Cannot split {rows} rows by {by}: there is only one prompt, group or moment.",
            f"{rows} 行を {by} で分割できません。質問・グループ・日時が 1 種類しかありません。",
        ),
        tr("Add rows, or split in another way.", "行を増やすか、別の分け方にしてください。"),
        code="wrong_rows",
        param="by",
    )
