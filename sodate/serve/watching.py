"""What changes while people look: looked at once for all who watch the same thing, and sent to each when it changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from sodate.core.errors import SodateError

log = logging.getLogger("sodate.serve")

# Of one stream. A browser asks again by itself, and is let in or not as it would be then.
LIFE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be told, as it goes over the wire; the `last` of it ends the stream."""

    event: bytes
    last: bool = False


Look = Callable[[], Seen | None]
"""Called in a thread. None where it knows at once that nothing has changed since it looked last."""


class _Watch:
    """One thing that is watched, as long as it has readers."""

    def __init__(self) -> None:
        self.readers = 0
        self.seen: Seen | None = None
        self.over = False
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Every reader looks at what there is now."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def run(self, look: Look, seconds: float, ends: Callable[[], bool]) -> None:
        """Looks every so many seconds, until there is nothing more to be seen."""
        try:
            while not ends():
                seen = await run_in_threadpool(look)
                if seen is not None and (self.seen is None or seen != self.seen):
                    self.seen = seen
                    self.wake()
                if self.seen is not None and self.seen.last:
                    return
                await asyncio.sleep(seconds)
        except SodateError as error:  # it is not there any more
            log.info("a watched thing has gone: %s", error.code)
        except Exception:
            log.exception("what is watched could not be looked at")
        finally:
            self.over = True
            self.wake()


class Watches:
    """What is watched now, by name; of one event loop."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Watch] = {}

    async def told(
        self, name: Hashable, look: Callable[[], Look], seconds: float, ends: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[bytes, None]:
        """What is seen of `name` now, then whenever that is something else. `look()` makes what the first reader and
        all after him are looked for with, every so many seconds; `ends` says that the server does."""
        watch = self._open.get(name)
        if watch is None or watch.over:
            watch = self._open[name] = _Watch()
            watch.task = asyncio.create_task(watch.run(look(), seconds, ends))
        watch.readers += 1
        sent: Seen | None = None
        until = time.monotonic() + LIFE_SECONDS
        try:
            while time.monotonic() < until:
                changed = watch.changed
                if watch.seen is not None and watch.seen is not sent:
                    sent = watch.seen
                    yield sent.event
                    continue
                if watch.over:
                    return
                try:
                    async with asyncio.timeout(until - time.monotonic()):
                        await changed.wait()
                except TimeoutError:
                    return
        finally:
            watch.readers -= 1
            if not watch.readers and watch.task is not None:
                watch.task.cancel()
                if self._open.get(name) is watch:
                    del self._open[name]
