"""Work that a page waits for: done once in a thread, its progress told meanwhile, its result kept for who asks next."""

from __future__ import annotations

import contextvars
import threading
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

    def ready(self) -> bool:
        """Waits a moment for it."""
        try:
            self.future.exception(timeout=SOON)
        except TimeoutError:
            return False
        return True

    @property
    def result(self) -> Any:
        """What came of it; raises what it raised."""
        return self.future.result()

    @property
    def share(self) -> float | None:
        """How much of it is done, None where that is not known."""
        last = self.told[-1] if self.told else None
        return last.done / last.total if last is not None and last.total else None


class Waiting:
    """Works by their names. At most two run at a time; the least recently asked for are forgotten."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, "pages")
        self._works: OrderedDict[Hashable, Work] = OrderedDict()
        self._lock = threading.Lock()

    def work(self, name: Hashable, do: Callable[[], Any]) -> Work:
        """The work of that name, begun if nobody has; one that failed is begun again by whoever asks next."""
        with self._lock:
            known = self._works.pop(name, None)
            if known is None or (known.future.done() and known.future.exception() is not None):
                told: list[progress.Progress] = []

                def run() -> Any:
                    with progress.told_to(lambda one: told.__setitem__(slice(None), [one])):
                        return do()

                known = Work(self._threads.submit(contextvars.copy_context().run, run), told)
            self._works[name] = known
            while len(self._works) > _KEPT:
                self._works.popitem(last=False)
            return known


waiting = Waiting()
