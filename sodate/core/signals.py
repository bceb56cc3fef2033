"""What ends a program from outside: Ctrl-C, SIGTERM and a terminal that closes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is within as Ctrl-C does, so that nothing half-made and no process of its own is
    left."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, ENDING[1:]):
        yield


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What would end the program waits until what is within is done, and is KeyboardInterrupt then: a process is not
    started and forgotten."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number), ENDING):
        yield
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], object], numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Handled so within; what was ignored before (nohup) stays so. Signals are the main thread's alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: one for number, one in before.items() if one not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)
