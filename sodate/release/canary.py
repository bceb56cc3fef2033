"""A canary: a version that answers a share of an alias's users, the same ones each time, and goes where it does badly.

It begins and ends with a line in the alias's log (`aliases.py`); what the alias means stays what it was. Each serving
process counts what both versions do, and whichever sees a limit broken first writes the line that ends the canary.
Missing figures break a limit, too: nobody can say that a version does well of which nothing is known.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.intervals import beta_cdf
from sodate.core.text import tr

FEWEST = 20  # requests of either version before their times are compared
KEPT = 500  # last requests of a version whose times are known
SURE = 0.95


@dataclass(frozen=True, slots=True)
class Limits:
    """`share` of users in (0, 1); of its requests at most `max_errors` may fail; its tokens may take at most
    `max_slower` times as long; a request has to end well every `patience` seconds."""

    share: float = 0.1
    max_errors: float = 0.02
    max_slower: float = 2.0
    patience: float = 600.0

    def checked(self) -> Limits:
        """The same; UsageError naming the one that can't be."""
        wrong = [
            name for name, fits in (
                ("share", 0 < self.share < 1), ("max_errors", 0 <= self.max_errors < 1),
                ("max_slower", self.max_slower > 0), ("patience", self.patience > 0),
            ) if not fits
        ]  # fmt: skip
        if wrong:
            raise UsageError(
                tr(f"{wrong[0]} of a canary can't be {getattr(self, wrong[0])}.",
                   f"カナリアの {wrong[0]} に {getattr(self, wrong[0])} は使えません。"),
                tr("share and max_errors are shares between 0 and 1, the others more than 0.",
                   "share と max_errors は 0 から 1 の割合、ほかは 0 より大きい数です。"),
                code="bad_value", param=wrong[0],
            )  # fmt: skip
        return self

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def takes(salt: str, who: str, share: float) -> bool:
    """Whether somebody is of the share that the canary answers: always the same for the same canary and person."""
    drawn = int.from_bytes(hashlib.sha256(f"{salt}\0{who}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return drawn < share * 2**64


@dataclass(slots=True)
class Figures:
    """What became of the requests of one version since the canary began. One thread writes, any may read."""

    ended: int = 0
    failed: int = 0
    last: float | None = None  # when one ended well, by the clock of whoever counts
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))  # a token, of the last requests

    def count(self, at: float, seconds: float, tokens: int, failed: bool) -> None:
        """A request that ended at `at`, after `seconds`, with so many tokens."""
        self.ended += 1
        self.failed += failed
        if not failed:
            self.last = at
            self.seconds.append(seconds / max(1, tokens))

    def to_json(self) -> dict[str, Any]:
        times = list(self.seconds)
        return {"requests": self.ended, "failed": self.failed,
                "seconds_per_token": statistics.median(times) if times else None}  # fmt: skip


def broken(limits: Limits, canary: Figures, stable: Figures, now: float, began: float) -> str | None:
    """Why the canary has to end at `now`, None where it need not. Times are by one monotonic clock."""
    # The exact lower bound of the share that fails: above the limit, a run of bad luck is no explanation.
    if canary.failed and beta_cdf(limits.max_errors, canary.failed, canary.ended - canary.failed + 1) < 1 - SURE:
        return tr(f"{canary.failed} of {canary.ended} requests failed.",
                  f"{canary.ended} 件中 {canary.failed} 件のリクエストが失敗しました。")  # fmt: skip
    times, before = list(canary.seconds), list(stable.seconds)
    if min(len(times), len(before)) >= FEWEST:
        slower = statistics.median(times) / max(statistics.median(before), 1e-9)
        if slower > limits.max_slower:
            return tr(f"A token takes {slower:.1f} times as long.", f"1 トークンに {slower:.1f} 倍の時間がかかります。")
    if now - max(began, canary.last or began) > limits.patience:
        return tr(f"No figures: no request ended well in {limits.patience:g} seconds.",
                  f"数値がありません: {limits.patience:g} 秒間、正常に終わったリクエストがありません。")  # fmt: skip
    return None


def limits_of(move: Mapping[str, Any]) -> Limits:
    """Those of a canary's line in the log."""
    return Limits(**move["canary"])
