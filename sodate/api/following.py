"""A running service follows its aliases: when one moves, the next request is answered by the version it means now; when
a canary begins, it answers its share, and is aborted here when it breaks a limit."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sodate.api.answering import Canary, Outcome, Served, Service
from sodate.core.errors import SodateError
from sodate.core.manifests import Move
from sodate.release import aliases
from sodate.release.canary import FEWEST, Figures, broken, limits_of
from sodate.release.registry import find_version, held

log = logging.getLogger("sodate.serve")

EVERY = 0.1  # seconds between two looks at the aliases
GRACE = 60.0  # seconds that a version stays after the last alias that could go back to it left


@dataclass(slots=True)
class _Watched:
    """A canary that this service has a part in: its line in the log, since when, and what both versions did since."""

    line: Move
    stable: str
    began: float
    figures: dict[str, Figures]

    @property
    def enough(self) -> bool:
        """Whether the times of both can be compared."""
        return all(len(one.seconds) >= FEWEST for one in self.figures.values())

    def count(self, outcome: Outcome) -> None:
        """Counts a request of either version; others are nobody's here."""
        if (figures := self.figures.get(outcome.served.id)) is not None:
            figures.count(time.monotonic(), outcome.seconds, outcome.tokens, outcome.failed)


class Follower:
    """Looks at aliases in a thread of its own. `names` says which alias each followed name of the service means.

    A version that can't be loaded is logged, and what answered before goes on.
    """

    def __init__(self, service: Service, names: Mapping[str, str]) -> None:
        self._service, self._names = service, dict(names)
        self._own: dict[str, tuple[Served, contextlib.ExitStack]] = {}  # loaded here, and kept from being deleted
        self._left: dict[str, float] = {}  # when nothing led to one of these any more
        self._seen = {alias: (aliases.stamp(alias), aliases.stack(alias)) for alias in names.values()}
        self._canaries: dict[str, _Watched] = {}
        service.on_outcome = self._count
        service.canary_figures = self.figures
        self._fresh = set(self._seen)  # whose canary was not looked for yet
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sodate-aliases", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._end.set()
        self._thread.join()
        for _, holding in self._own.values():
            holding.close()

    def figures(self, alias: str) -> dict[str, Any] | None:
        """What the canary of an alias and its stable version did in this service since it began, for `seconds`; None
        where it has no part in one."""
        watched = self._canaries.get(alias)
        if watched is None:
            return None
        told = {name: one.to_json() for name, one in watched.figures.items()}
        return {"seconds": round(time.monotonic() - watched.began), "stable": watched.stable,
                "canary": watched.line["version"], "enough": watched.enough, "figures": told}  # fmt: skip

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            for alias, (stamp, _) in list(self._seen.items()):
                if aliases.stamp(alias) == stamp and alias not in self._fresh:
                    continue
                self._fresh.discard(alias)
                self._seen[alias] = aliases.stamp(alias), aliases.stack(alias)
                version = self._seen[alias][1][-1]
                try:
                    self._move(alias, version)
                except Exception:  # it is tried once a move
                    log.exception("%s was moved to %s, which could not be loaded", alias, version)
                self._canary_changed(alias)
            for alias in list(self._canaries):
                self._watch(alias)
            self._retire()

    def _move(self, alias: str, version: str) -> None:
        names = self._asked_by(alias)
        if all(self._service.names[name].id == version for name in names):
            return
        self._service.put(self._served(version), names)
        log.info("%s is %s", alias, version)

    def _asked_by(self, alias: str) -> list[str]:
        return [name for name, followed in self._names.items() if followed == alias]

    def _served(self, version: str) -> Served:
        """The version, loaded beside the others where it was not."""
        if version in self._own:
            return self._own[version][0]
        if version in self._service.names:
            return self._service.find(version)
        found = find_version(version)
        with contextlib.ExitStack() as holding:
            if found is not None:
                holding.enter_context(held(found))
            served = self._service.open_version(version)
            self._own[version] = served, holding.pop_all()
        return served

    # ── canaries ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _count(self, outcome: Outcome) -> None:
        for watched in list(self._canaries.values()):
            watched.count(outcome)

    def _canary_changed(self, alias: str) -> None:
        """Lets the alias's canary answer its share, or takes away what has ended."""
        line, watched = aliases.canary(alias), self._canaries.get(alias)
        if watched is not None and watched.line == line:
            return
        self._end_canary(alias)
        if line is None:
            return
        try:
            served = self._served(line["version"])
        except Exception as error:
            log.exception("the canary %s of %s could not be loaded", line["version"], alias)
            self._abort(alias, line, f"It could not be loaded: {error}", {})
            return
        stable = self._seen[alias][1][-1]
        self._canaries[alias] = _Watched(line, stable, time.monotonic(), {served.id: Figures(), stable: Figures()})
        self._service.put(served, [])
        salt = f"{alias} {line['version']} {aliases.canary_since(alias)}"
        canary = Canary(served, limits_of(line).share, salt)
        self._service.canaries |= dict.fromkeys(self._asked_by(alias), canary)
        log.info("%s has the canary %s", alias, served.id)

    def _watch(self, alias: str) -> None:
        watched = self._canaries[alias]
        canary, stable = (watched.figures[name] for name in (watched.line["version"], watched.stable))
        why = broken(limits_of(watched.line), canary, stable, time.monotonic(), watched.began)
        if why is not None:
            self._end_canary(alias)
            figures = {name: one.to_json() for name, one in watched.figures.items()}
            self._abort(alias, watched.line, why, figures)

    def _end_canary(self, alias: str) -> None:
        self._canaries.pop(alias, None)
        gone = self._asked_by(alias)
        self._service.canaries = {name: one for name, one in self._service.canaries.items() if name not in gone}

    def _abort(self, alias: str, line: Move, why: str, figures: Mapping[str, object]) -> None:
        """Writes the end of that canary into the log, unless somebody ended it meanwhile."""
        log.warning("the canary %s of %s was aborted: %s", line["version"], alias, why)
        try:
            with aliases.moving(alias):
                if aliases.canary(alias) == line:
                    aliases.abort(alias, by="sodate serve", reason=str(why), figures=figures)
        except (OSError, SodateError):  # it answers nobody here in any case
            log.exception("the end of the canary of %s could not be written down", alias)

    def _retire(self) -> None:
        """Frees what was loaded here once no alias means it or would after a rollback, and its last replies ended."""
        wanted = {version for _, stack in self._seen.values() for version in stack[-2:]}
        wanted |= {watched.line["version"] for watched in self._canaries.values()}
        for version, (served, holding) in list(self._own.items()):
            if version in wanted:
                self._left.pop(version, None)
            elif time.monotonic() - self._left.setdefault(version, time.monotonic()) > GRACE:
                self._service.drop(served)
                with contextlib.suppress(SodateError):  # `busy`: at the next look
                    self._service.close_version(served)
                    holding.close()
                    del self._own[version], self._left[version]
