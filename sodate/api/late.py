"""Versions that come while the server runs: loaded when they are first asked for, beside what is there."""

from __future__ import annotations

import contextlib
import threading

from sodate.api.answering import Served, Service
from sodate.release.registry import find_version, held

_loading = threading.Lock()


def open_late(service: Service, name: str) -> Served:
    """The version, ready to answer, and kept from being deleted. One thread loads; the others wait and find it."""
    found = service.late.get(name)
    if found is not None:
        return found
    with _loading:
        if name not in service.late:
            with contextlib.ExitStack() as holding:
                if (version := find_version(name)) is not None:
                    holding.enter_context(held(version))
                service.add_late(name, service.open_version(name))
                service.on_close(holding.pop_all().close)
        return service.late[name]
