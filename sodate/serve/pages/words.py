"""Numbers and states as a page writes them, in the reader's language."""

from __future__ import annotations

import datetime
import re
from typing import Any

from sodate.core.text import tr

_STATES = {
    "running": tr("running", "実行中"),
    "interrupted": tr("interrupted", "中断"),
    "failed": tr("failed", "失敗"),
    "done": tr("done", "完了"),
    "better": tr("better", "改善"),
    "worse": tr("worse", "悪化"),
    "equivalent": tr("equivalent", "同等"),
    "inconclusive": tr("inconclusive", "判定できず"),
    "promote": tr("promoted", "公開"),
    "rollback": tr("rolled back", "ロールバック"),
    "training": tr("training", "学習用"),
    "held-out": tr("held out", "評価用"),
    "target": tr("better", "改善"),
    "guard": tr("not worse", "悪化なし"),
    "blocking": tr("no failure", "失敗なし"),
    "canary": tr("canary", "カナリア"),
    "abort": tr("canary aborted", "カナリア中止"),
    "no-gain": tr("no gain", "改善なし"),
    "queued": tr("queued", "待機中"),
    "validating_files": tr("files are checked", "ファイル確認中"),
    "paused": tr("paused", "一時停止中"),
    "succeeded": tr("done", "完了"),
    "cancelled": tr("cancelled", "取り消し"),
}


def status_word(state: Any) -> str:
    """A state of a run, job, comparison or move; what a dataset is for, and what a tier of a gate asks."""
    return str(_STATES.get(str(state), str(state)))


def number(value: Any, digits: int | None = None) -> str:
    """12,345 or 0.1235; – for what is not there."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.{digits}f}" if digits is not None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def percent(share: Any, digits: int = 0) -> str:
    """A share as a percentage."""
    if share is None:
        return "–"
    text = f"{100 * float(share):.{digits}f}"
    return str(tr(f"{text}\u00a0%", f"{text}%"))


def points(value: Any) -> str:
    """A score in [0, 1] as points out of 100."""
    return "–" if value is None else f"{100 * float(value):.1f}"


def figure(value: Any) -> str:
    """A difference in points, with its sign."""
    return "–" if value is None else f"{100 * float(value):+.1f}".replace("-", "−")


def seconds(value: Any) -> str:
    """How long something takes, as a person says it."""
    if value is None:
        return "–"
    whole = max(0, round(float(value)))
    if whole < 60:
        return str(tr(f"{whole} s", f"{whole} 秒"))
    if whole < 3600:
        return str(tr(f"{round(whole / 60)} min", f"{round(whole / 60)} 分"))
    hours, minutes = divmod(round(whole / 60), 60)
    return str(tr(f"{hours} h {minutes} min", f"{hours} 時間 {minutes} 分"))


def day(number: Any) -> str:
    """A day, counted from 1970: the same in every zone."""
    when = datetime.date(1970, 1, 1) + datetime.timedelta(days=int(number))
    return str(tr(f"{when.day} {when:%b %Y}", f"{when.year}年{when.month}月{when.day}日"))


def size(count: Any) -> str:
    """Bytes."""
    if count is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def place(text: str) -> str:
    """Where in a document a passage begins, as a person says it."""
    found = re.fullmatch(r"(line|page) (\d+)", text)
    if found is None:
        return text
    return tr(text, f"{found[2]} 行目" if found[1] == "line" else f"{found[2]} ページ")
