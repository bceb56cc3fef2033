"""As many threads as the machine has cores to spare, looked at again while it computes.

Threads that share a product wait for the slowest of them. Beside one busy program of another user a training step took
4 to 30 times as long with two threads, and with one thread less than twice as long as alone (bench/shared.py). Sums
don't change with it: machine.py asks first whether the libraries' products are the same with another number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sodate.core.load import Look, cores, look_around, others

EVERY = 0.5  # seconds between two looks: the kernel counts in hundredths


class Watch:
    """Tells how many of `most` threads have a core to themselves, from what others took since it last looked."""

    def __init__(self, most: int, look: Callable[[], Look | None] | None = None) -> None:
        self.most = self.threads = most
        self._look = look or look_around
        self._last = self._look() if most > 1 else None
        self._left = time.monotonic()

    def enter(self) -> None:
        """Computing begins. What others took while nobody computed says nothing of what they take now."""
        if self._last is not None and time.monotonic() - self._left > EVERY:
            self._last = self._look()

    def leave(self) -> None:
        self._left = time.monotonic()

    def adapt(self) -> None:
        """Gives this thread's products as many threads, and looks around first if it is time."""
        if self._last is not None and time.monotonic() - self._last.clock > EVERY:
            self.look()
        if self.threads != torch.get_num_threads():
            torch.set_num_threads(self.threads)

    def look(self) -> None:
        before, now = self._last, self._look()
        if before is None or now is None:
            return
        self._last = now
        self.threads = max(1, min(self.most, int(len(cores()) - others(before, now) + 0.5)))


_watch: Watch | None = None
_decided = False


def adapt() -> None:
    """Called between two products, and before a step of decoding."""
    if _watch is not None:
        _watch.adapt()


@contextmanager
def adapting(watch: Watch | None) -> Iterator[None]:
    """Within, this thread takes as many threads as `watch` tells; None: as many as it has, whatever is called within.
    The outermost decides."""
    global _watch, _decided
    if _decided:
        yield
        return
    before = torch.get_num_threads()
    _watch, _decided = watch, True
    try:
        if watch is not None:
            watch.enter()
        adapt()
        yield
    finally:
        if watch is not None:
            watch.leave()
        _watch, _decided = None, False
        torch.set_num_threads(before)
