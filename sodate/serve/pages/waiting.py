"""Work that a page waits for: done once in a thread, its progress told meanwhile, its result kept for who asks next."""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sodate.core import progress

SOON = 0.8  # seconds that a page waits before it shows how far the work is
_KEPT = 16


@dataclass
class Work:
    """One piece of work: its result once it is there, until then how far it is."""

    future: Future[Any]
    told: list[progress.Progress] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)  # when, by the monotonic clock

    def ready(self, seconds: float = SOON) -> bool:
        """Waits a moment for it."""
        try:
            self.future.exception(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def stands(self, fresh: float) -> bool:
        """Whether nobody has to begin again: it is under way, or came to a result less than `fresh` seconds ago."""
        if not self.future.done():
            return True
        return self.future.exception() is None and time.monotonic() - self.ended[-1] < fresh

    @property
    def result(self) -> Any:
        """What came of it; raises what it raised."""
        return self.future.result()

    @property
    def share(self) -> float | None:
        """How much of it is done, None where that is not known."""
        last = self.last
        return last.done / last.total if last is not None and last.total else None

    @property
    def last(self) -> progress.Progress | None:
        """What it said of its progress last."""
        return self.told[-1] if self.told else None


class Waiting:
    """Works by their names. At most two run at a time; the least recently asked for are forgotten."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, "pages")
        self._works: OrderedDict[Hashable, Work] = OrderedDict()
        self._lock = threading.Lock()

    def work(self, name: Hashable, do: Callable[[], Any], fresh: float = math.inf) -> Work:
        """The work of that name, begun if nobody has; one that failed, or whose result is `fresh` seconds old, is begun
        again by whoever asks next."""
        with self._lock:
            known = self._works.pop(name, None)
            if known is None or not known.stands(fresh):
                told: list[progress.Progress] = []
                ended: list[float] = []

                def run() -> Any:
                    try:
                        with progress.told_to(lambda one: told.__setitem__(slice(None), [one])):
                            return do()
                    finally:
                        ended.append(time.monotonic())

                known = Work(self._threads.submit(contextvars.copy_context().run, run), told, ended)
            self._works[name] = known
            while len(self._works) > _KEPT:
                self._works.popitem(last=False)
            return known


waiting = Waiting()
