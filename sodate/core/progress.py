"""How far a long piece of work is: whoever does it reports, and whoever started it may listen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (None: nobody knows) of a kind of work, e.g. "rows". `of`: of which file or model."""

    work: str
    done: float
    total: float | None = None
    of: str = ""
    at: float = 0.0  # time.monotonic() of the report


Listener = Callable[[Progress], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("sodate_progress", default=None)


def report(work: str, done: float, total: float | None = None, of: str = "") -> None:
    """Says how far the work is; costs next to nothing where nobody listens."""
    if (listener := _LISTENER.get()) is not None:
        listener(Progress(work, done, total, of, time.monotonic()))


def listened() -> bool:
    """Whether it is worth finding out how much there is to do."""
    return _LISTENER.get() is not None


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Within, reports of this thread go to `listener`."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)
