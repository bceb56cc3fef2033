"""A running service follows its aliases: when one moves, the next request is answered by the version it means now."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping

from sodate.api.answering import Served, Service
from sodate.core.errors import SodateError
from sodate.release import aliases
from sodate.release.registry import find_version, held

log = logging.getLogger("sodate.serve")

EVERY = 0.1  # seconds between two looks at the aliases
GRACE = 60.0  # seconds that a version stays after the last alias that could go back to it left


class Follower:
    """Looks at aliases in a thread of its own. `names` says which alias each followed name of the service means.

    A version that can't be loaded is logged, and what answered before goes on.
    """

    def __init__(self, service: Service, names: Mapping[str, str]) -> None:
        self._service, self._names = service, dict(names)
        self._own: dict[str, tuple[Served, contextlib.ExitStack]] = {}  # loaded here, and kept from being deleted
        self._left: dict[str, float] = {}  # when nothing led to one of these any more
        self._seen = {alias: (aliases.stamp(alias), aliases.stack(alias)) for alias in names.values()}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sodate-aliases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._end.set()
        self._thread.join()
        for _, holding in self._own.values():
            holding.close()

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            for alias, (stamp, _) in list(self._seen.items()):
                if aliases.stamp(alias) == stamp:
                    continue
                self._seen[alias] = aliases.stamp(alias), aliases.stack(alias)
                version = self._seen[alias][1][-1]
                try:
                    self._move(alias, version)
                except Exception:  # it is tried once a move
                    log.exception("%s was moved to %s, which could not be loaded", alias, version)
            self._retire()

    def _move(self, alias: str, version: str) -> None:
        if version in self._own:
            served = self._own[version][0]
        elif version in self._service.names:
            served = self._service.find(version)
        else:
            found = find_version(version)
            with contextlib.ExitStack() as holding:
                if found is not None:
                    holding.enter_context(held(found))
                served = self._service.open_version(version)
                self._own[version] = served, holding.pop_all()
        self._service.put(served, [name for name, followed in self._names.items() if followed == alias])
        log.info("%s is %s", alias, version)

    def _retire(self) -> None:
        """Frees what was loaded here once no alias means it or would after a rollback, and its last replies ended."""
        wanted = {version for _, stack in self._seen.values() for version in stack[-2:]}
        for version, (served, holding) in list(self._own.items()):
            if version in wanted:
                self._left.pop(version, None)
            elif time.monotonic() - self._left.setdefault(version, time.monotonic()) > GRACE:
                self._service.drop(served)
                with contextlib.suppress(SodateError):  # `busy`: at the next look
                    self._service.close_version(served)
                    holding.close()
                    del self._own[version], self._left[version]
