"""Stored replies as they were sent, in memory alone, for as long as a conversation usually lasts.

On the disk they are without personal data (`stored.py`). A client that goes on within the hour goes on from what was
really said; after that, or after a restart, from what the disk has.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

SECONDS = 3600.0
CHARACTERS = 50_000_000  # of all that is held; the oldest go first


class Original(NamedTuple):
    """What was answered, and what was asked (items or messages), as on the wire."""

    body: dict[str, Any]
    asked: list[Any]


class Originals:
    """By the id of the reply. Whoever asks has found the row in the database first: that says whose it is, and whether
    it is still there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._characters = 0

    def put(self, id: str, body: Any, asked: Any) -> None:
        text = json.dumps([body, asked])
        with self._lock:
            self._held[id] = (self._clock(), text)
            self._characters += len(text)
            while self._characters > CHARACTERS:
                self._drop(next(iter(self._held)))
            self._forget_old()

    def get(self, id: str) -> Original | None:
        with self._lock:
            self._forget_old()
            found = self._held.get(id)
        return None if found is None else Original(*json.loads(found[1]))

    def drop(self, id: str) -> None:
        with self._lock:
            if id in self._held:
                self._drop(id)

    def forget_old(self) -> None:
        """What is older than SECONDS goes. Called now and then, so that it also goes where nobody asks any more."""
        with self._lock:
            self._forget_old()

    def _drop(self, id: str) -> None:
        self._characters -= len(self._held.pop(id)[1])

    def _forget_old(self) -> None:
        until = self._clock() - SECONDS
        while self._held and next(iter(self._held.values()))[0] < until:
            self._drop(next(iter(self._held)))
