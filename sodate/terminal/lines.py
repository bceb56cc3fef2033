"""Progress where there is no terminal: a line on stderr every 15 seconds, while some work is under way."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sodate.core.progress import Progress, told_to
from sodate.core.text import Sentence, en, ja, tr, visible

EVERY = 15.0  # seconds

WORK: dict[str, Sentence] = {
    "rows": tr("Rows read", "読み込んだ行"),
    "load": tr("Loading the model", "モデルを読み込み中"),
    "steps": tr("Training steps", "学習ステップ"),
    "replies": tr("Replies", "応答"),
    "fetch": tr("Fetching, percent", "取得 (%)"),
    "gradients": tr("Rows whose gradients are kept", "勾配を保存した行"),
    "reference": tr("Rows under the reference model", "参照モデルで計算した行"),
    "merge": tr("Merging and comparing", "統合と比較"),
    "documents": tr("Documents read", "読み込んだ文書"),
    "weights": tr("Weights tried", "試した重み"),
    "vectors": tr("Vectors made", "計算したベクトル"),
    "exchanges": tr("Exchanges read", "読み込んだやり取り"),
    "export": tr("Exporting and trying it", "書き出しと確認"),
}


def duration(seconds: float) -> str:
    """`75` as `1:15`, `4000` as `1:06:40`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Lines:
    """Remembers the last report, and since when its work has been going on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now: Progress | None = None
        self._first: Progress | None = None

    def __call__(self, now: Progress) -> None:
        if (
            self._now is None
            or self._first is None
            or (now.work, now.of) != (self._first.work, self._first.of)
            or now.done < self._now.done
        ):
            self._first = now
        self._now = now

    def line(self) -> str | None:
        """Work, done, total, rate and time left, as far as they are known; None where no work is under way."""
        first, now = self._first, self._now
        if first is None or now is None or now.done == now.total:
            return None
        name = f"{WORK[now.work]} ({now.of})" if now.of else str(WORK[now.work])
        spent = self._clock() - first.at
        if now.total is None and not now.done:
            return tr(f"{name}: {duration(spent)} so far", f"{name}: 経過 {duration(spent)}")
        counted = f"{now.done:,.0f}" + ("" if now.total is None else f"/{now.total:,.0f}")
        # The rate of what was done, not of what one long unit still has before it.
        worked, units = now.at - first.at, now.done - first.done
        if worked <= 0 or units <= 0:
            return tr(f"{name}: {counted}, {duration(spent)} so far", f"{name}: {counted}、経過 {duration(spent)}")
        rate = units / worked
        speed = tr(f"{rate:,.1f}/s", f"毎秒 {rate:,.1f}")
        if rate < 1:
            speed = tr(f"{1 / rate:,.1f} s each", f"1 つ {1 / rate:,.1f} 秒")
        if now.total is None:
            return tr(f"{name}: {counted}, {en(speed)}", f"{name}: {counted}、{ja(speed)}")
        rest = (now.total - now.done) / rate - (self._clock() - now.at)
        if rest < 1:  # it has become slower: nothing is known of the rest but that there is one
            return tr(f"{name}: {counted}, {duration(spent)} so far", f"{name}: {counted}、経過 {duration(spent)}")
        left = duration(rest)
        return tr(f"{name}: {counted}, {en(speed)}, {left} left", f"{name}: {counted}、{ja(speed)}、残り {left}")


@contextmanager
def printed() -> Iterator[None]:
    """Within, a line on stderr every EVERY seconds."""
    lines, ended = Lines(), threading.Event()

    def run() -> None:
        while not ended.wait(EVERY):
            if (line := lines.line()) is not None:
                print(visible(line), file=sys.stderr, flush=True)

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        with told_to(lines):
            yield
    finally:
        ended.set()
        thread.join()
