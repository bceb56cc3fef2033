"""Requests that another process answers: a thread for each that waits for it, and one queue of what they hear."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

from sodate.core.engine import Done, Event
from sodate.core.errors import SodateError
from sodate.generate.event_stream import BROKEN, EventStream, Refusal

WAIT = 0.05  # seconds that a step waits for something to happen


class Call:
    """One request under way. `gone` is set when nobody wants its answer any more."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.gone = threading.Event()
        self._stream: EventStream | None = None

    def over(self, stream: EventStream) -> EventStream:
        """The stream that this call reads from now."""
        self._stream = stream
        if self.gone.is_set():
            stream.break_off()
        return stream

    def leave(self) -> None:
        """Lets go of the request; its thread ends soon."""
        self.gone.set()
        if self._stream is not None:
            self._stream.break_off()


Work = Callable[[Call], Iterable[Event]]
"""What a thread does: says the events of one request, its Done last. It may raise what EventStream does, and
SodateError."""


class Calls:
    """The calls of one engine. `failed` makes a sentence of what a connection ended with."""

    def __init__(self, failed: Callable[[Exception], SodateError]) -> None:
        self._failed = failed
        self._running: dict[int, Call] = {}
        self._heard: queue.SimpleQueue[tuple[Call, Event]] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, number: int, work: Work) -> None:
        """Starts a call."""
        call = self._running[number] = Call(number)
        threading.Thread(target=self._answer, args=(call, work), name="sodate-call", daemon=True).start()

    def _answer(self, call: Call, work: Work) -> None:
        try:
            for event in work(call):
                self._heard.put((call, event))
        except SodateError as error:
            self._heard.put((call, _end(call.number, error)))
        except (*BROKEN, Refusal) as error:
            if not call.gone.is_set():
                self._heard.put((call, _end(call.number, self._failed(error))))

    def step(self) -> list[Event]:
        """What was heard since the last step; waits a moment for something where calls are under way."""
        events: list[Event] = []
        while self._running:
            try:
                call, event = self._heard.get(timeout=0 if events else WAIT)
            except queue.Empty:
                break
            if self._running.get(call.number) is call:  # else it was let go of
                events.append(event)
                if isinstance(event, Done):
                    del self._running[call.number]
        return events

    def cancel(self, number: int) -> None:
        """Lets go of a call, if it is under way."""
        call = self._running.pop(number, None)
        if call is not None:
            call.leave()

    def close(self) -> None:
        """Lets go of all calls."""
        for number in list(self._running):
            self.cancel(number)


def _end(number: int, error: SodateError) -> Done:
    return Done(number, "cancelled", error=error.code, cause=error)
