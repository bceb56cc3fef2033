"""One thread owns the engine; everybody else puts requests before it and is told what happens."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sodate.core.engine import Done, Engine, Event, Request
from sodate.core.errors import SodateError
from sodate.core.giving_way import Sign

log = logging.getLogger("sodate.serve")

Listener = Callable[[list[Event]], None]
"""Told what happened to one request. Called on the engine's thread: it must hand on and return."""


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    listener: Listener


class EngineThread:
    """The engine behind a queue of at most `room` requests that it has not admitted yet. Jobs of this machine are shown
    the `sign`, if there is one, while it is at work."""

    def __init__(self, engine: Engine, *, room: int = 256, sign: Sign | None = None) -> None:
        self.engine = engine
        self._sign = sign
        self.room = room
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waiting: deque[_Asked] = deque()
        self._running: dict[int, Listener] = {}
        self._open = True
        self._thread = threading.Thread(target=self._run, name="sodate-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that are not admitted yet, the ones on their way among them."""
        return len(self._waiting) + self._commands.qsize()

    @property
    def running(self) -> int:
        """Requests that the engine is at."""
        return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._open and self._thread.is_alive()

    def submit(self, request: Request, listener: Listener) -> bool:
        """Puts a request before the engine, or returns False where too many wait already."""
        if not self._open or self.waiting >= self.room:
            return False
        self._show()
        self._commands.put(lambda: self._waiting.append(_Asked(request, listener)))
        return True

    def cancel(self, number: int) -> None:
        """Lets go of a request, admitted or not; its listener hears nothing more."""
        self._commands.put(lambda: self._let_go(number))

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Runs `function` on the engine's thread between two steps."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)

        self._commands.put(run)
        return future

    def end_all(self, error: str) -> None:
        """Ends every request with `error`: the time to drain is over."""
        self._commands.put(lambda: self._fail(error))

    def close(self, seconds: float = 10.0) -> None:
        """Ends the thread and frees the engine."""
        self._open = False
        self._commands.put(lambda: None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while self._open:
            self._obey()
            self._show()
            try:
                self._admit()
                self._tell(self.engine.step())
            except Exception:  # one broken step must not end the server; whoever was in it is told
                log.exception("the engine failed in a step")
                self._fail("engine_failed")
        self._fail("shutting_down")
        self.engine.close()
        if self._sign is not None:
            self._sign.hide()

    def _obey(self) -> None:
        """Runs what was asked of the thread; waits for something where there is nothing to do."""
        if not self._running and not self._waiting:
            if self._sign is not None and self._commands.empty():
                self._sign.hide()
            self._commands.get()()
        while self._open:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _show(self) -> None:
        if self._sign is not None:
            self._sign.show()

    def _admit(self) -> None:
        while self._waiting:
            asked = self._waiting[0]
            try:
                self.engine.admit(asked.request)
            except SodateError as error:
                if error.code == "busy" and self._running:
                    return  # there is room when a running one ends
                self._waiting.popleft()
                asked.listener([Done(asked.request.number, "cancelled", error=error.code, cause=error)])
                continue
            except Exception:
                self._waiting.popleft()
                asked.listener([Done(asked.request.number, "cancelled", error="engine_failed")])
                raise
            self._waiting.popleft()
            self._running[asked.request.number] = asked.listener

    def _tell(self, events: Sequence[Event]) -> None:
        told: dict[int, list[Event]] = {}
        for event in events:
            told.setdefault(event.number, []).append(event)
        for number, mine in told.items():
            listener = self._running.get(number)
            if isinstance(mine[-1], Done):
                self._running.pop(number, None)
            if listener is not None:
                listener(mine)

    def _let_go(self, number: int) -> None:
        if self._running.pop(number, None) is not None:
            self.engine.cancel(number)
        self._waiting = deque(asked for asked in self._waiting if asked.request.number != number)

    def _fail(self, error: str) -> None:
        for number, listener in list(self._running.items()):
            self.engine.cancel(number)
            listener([Done(number, "cancelled", error=error)])
        for asked in self._waiting:
            asked.listener([Done(asked.request.number, "cancelled", error=error)])
        self._running.clear()
        self._waiting.clear()


class Mail:
    """Calls that engines' threads want made on an event loop. A step's are made together: to wake the loop for each of
    sixteen replies would take longer than the calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        with self._lock:
            wakes = loop not in self._waiting
            self._waiting.setdefault(loop, []).append(call)
        if wakes:
            loop.call_soon_threadsafe(self._deliver, loop)

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            calls = self._waiting.pop(loop)
        for call in calls:
            call()
