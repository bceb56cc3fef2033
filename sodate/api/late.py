"""Versions that come while the server runs: loaded when they are first asked for, beside what is there, and let go of
again when others want their place."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sodate.core.errors import SodateError
from sodate.release.registry import find_version, held

if TYPE_CHECKING:
    from sodate.api.answering import Served

MOST = 16  # versions that came late and stay; one more may cost as much memory as a base model
IDLE = 60.0  # seconds that nobody asked for a version before it may go


class LateVersions:
    """Those of one service, `served` by their exact names, each kept from being deleted while it is here."""

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}
        self._asked: dict[str, float] = {}  # when, by the clock that only goes forward
        self._holding: dict[str, contextlib.ExitStack] = {}
        self._loading = threading.Lock()

    def find(self, name: str, open: Callable[[str], Served], close: Callable[[Served], None]) -> Served:
        """The version, ready to answer. One thread loads it by `open`; the others wait and find it.

        Where there are MOST already, those that were not asked for the longest go by `close`, which raises SodateError
        while they answer, if nobody asked for them for IDLE seconds.
        """
        self._asked[name] = time.monotonic()
        found = self.served.get(name)
        if found is not None:
            return found
        with self._loading:
            if name not in self.served:
                self._make_room(close)
                with contextlib.ExitStack() as holding:
                    if (version := find_version(name)) is not None:
                        holding.enter_context(held(version))
                    self.served = {**self.served, name: open(name)}
                    self._holding[name] = holding.pop_all()
            return self.served[name]

    def _make_room(self, close: Callable[[Served], None]) -> None:
        longest = sorted(self.served, key=lambda name: self._asked[name])
        for name in longest[: max(0, len(longest) - MOST + 1)]:
            if time.monotonic() - self._asked[name] < IDLE:
                return
            one, others = self.served[name], {key: value for key, value in self.served.items() if key != name}
            self.served = others
            try:
                close(one)
            except SodateError:  # it still answers: at the next time
                self.served = {**others, name: one}
            else:
                self._holding.pop(name).close()
                del self._asked[name]

    def close(self) -> None:
        """Lets all of them be deleted."""
        for holding in self._holding.values():
            holding.close()
