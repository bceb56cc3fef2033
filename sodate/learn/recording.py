"""What a project keeps of what is served, and by which rules: off, sampled or on.

A project without a row keeps nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import sqlalchemy as sa

from sodate.api import grading
from sodate.core.errors import UsageError
from sodate.core.home import checked_name
from sodate.core.paths import is_file, refusal
from sodate.core.text import en, ja, tr
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import RecordingRow

Mode = Literal["off", "sampled", "on"]
Stored = Literal["scrubbed", "raw", "off"]
MODES: tuple[Mode, ...] = get_args(Mode)
KEEP_DAYS = 90
MOST_DAYS = 100_000
MAX_WORDS = 10_000


@dataclass(frozen=True, slots=True)
class Rules:
    """How one project's exchanges are kept and looked at.

    `share` is of exchanges, where they are sampled. `words` are its own names and terms that are scrubbed like personal
    data. Slower than `slow_ms`, or a confidence below `confidence`, is a failure. `graders` are specs of graders that
    look at a reply alone, as in `sodate eval`, held against every one. `stored`: how replies are kept where whoever
    asked said `store`: without personal data, as they were sent (raw), or not at all. They go after `keep_days`, too,
    in every mode.
    """

    mode: Mode = "off"
    share: float = 1.0
    keep_days: int | None = KEEP_DAYS
    words: tuple[str, ...] = ()
    slow_ms: int = 20_000
    confidence: float = 0.5
    graders: tuple[str, ...] = ()
    stored: Stored = "scrubbed"


OFF = Rules()
_KEPT = ("words", "slow_ms", "confidence", "graders", "stored")  # in one column


def of(project: str) -> Rules:
    """The rules of a project."""
    with reading() as session:
        row = session.get(RecordingRow, project)
        return _rules(row) if row is not None else OFF


def of_all() -> dict[str, Rules]:
    """The rules of every project that has some."""
    with reading() as session:
        return {row.project: _rules(row) for row in session.scalars(sa.select(RecordingRow))}


def change(project: str, changes: Mapping[str, Any]) -> Rules:
    """The project's rules with `changes`, which are values of `Rules`. UsageError for one that it can't have."""
    checked_name(project, tr("The project", "プロジェクト"))
    with writing() as session:
        row = session.get(RecordingRow, project)
        rules = _checked(replace(_rules(row) if row is not None else OFF, **changes))
        if row is None:
            row = row_of(project)
            session.add(row)
        _write(row, rules)
    return rules


def row_of(project: str) -> RecordingRow:
    """The row of a project that nobody has said anything of."""
    row = RecordingRow(project=project, swept_at=None, steady_since=None, looked=0)
    _write(row, OFF)
    return row


def _write(row: RecordingRow, rules: Rules) -> None:
    row.mode, row.share, row.keep_days = rules.mode, rules.share, rules.keep_days
    row.rules = json.dumps({key: getattr(rules, key) for key in _KEPT})


def _rules(row: RecordingRow) -> Rules:
    told = json.loads(row.rules)
    return Rules(
        cast(Mode, row.mode), row.share, row.keep_days, tuple(told["words"]), told["slow_ms"],
        told["confidence"], tuple(told["graders"]), _stored(told.get("stored")),
    )  # fmt: skip


def _stored(kept: object) -> Stored:
    """As rules of before said it, too: True was "as it was sent" without anybody having asked for it."""
    if kept is False or kept == "off":
        return "off"
    return "raw" if kept == "raw" else "scrubbed"


def _checked(rules: Rules) -> Rules:
    if rules.mode not in MODES:
        raise _wrong("mode", tr("It is off, sampled or on.", "off、sampled、on のどれかにしてください。"))
    if rules.stored not in get_args(Stored):
        raise _wrong("stored", tr("It is scrubbed, raw or off.", "scrubbed、raw、off のどれかにしてください。"))
    if not 0 < rules.share <= 1:
        raise _wrong("share", tr("A share lies between 0 and 1.", "割合は 0 より大きく 1 以下にしてください。"))
    if rules.keep_days is not None and not 1 <= rules.keep_days <= MOST_DAYS:
        raise _wrong("keep_days", tr(f"Exchanges stay for 1 to {MOST_DAYS} days, or for good.",
                                     f"保存期間は 1〜{MOST_DAYS} 日か、無期限にしてください。"))  # fmt: skip
    if rules.slow_ms < 1:
        raise _wrong("slow_ms", tr("It is a number of milliseconds above 0.", "1 ミリ秒以上にしてください。"))
    if not 0 <= rules.confidence <= 1:
        raise _wrong("confidence", tr("A confidence lies between 0 and 1.", "確信度は 0 から 1 の値にしてください。"))
    graders = tuple(map(_absolute, rules.graders))
    grading.by_rule(graders)
    return replace(rules, words=_terms(rules.words), graders=graders)


def _absolute(grader: str) -> str:
    """A grader's spec whose file is found from every folder."""
    kind, colon, rest = grader.partition(":")
    return f"{kind}:{Path(rest).absolute()}" if colon and is_file(rest) else grader


def _terms(words: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
    if len(kept) > MAX_WORDS or any(len(word) > 200 for word in kept):
        raise _wrong("words", tr(f"At most {MAX_WORDS} words of 200 characters.",
                               f"200 文字以内の語を {MAX_WORDS} 個までにしてください。"))  # fmt: skip
    return kept


def _wrong(param: str, said: str) -> UsageError:
    return UsageError(said, code="bad_value", param=param)


def word_list(path: Path) -> tuple[str, ...]:
    """The words of a file, one a line; UTF-8, with its mark or without, or CP932."""
    try:
        data = path.read_bytes()
    except OSError as error:
        why = refusal(error)
        raise UsageError(
            tr(f"{path} cannot be read: {en(why)}.", f"{path} を読めません: {ja(why)}"),
            code="file_unreadable", param="words", file=path,
        ) from None  # fmt: skip
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return tuple(data.decode(encoding).splitlines())
        except UnicodeDecodeError:
            continue
    raise UsageError(
        tr(f"{path} is neither UTF-8 nor CP932.", f"{path} は UTF-8 でも CP932 でもありません。"),
        code="encoding", param="words", file=path,
    )  # fmt: skip
