"""From the name in a request to what answers it: a served name, or a tuned model of the asker's project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sodate.api.answering import Served
from sodate.core.errors import UsageError
from sodate.db.connection import reading
from sodate.jobs import naming
from sodate.serve.state import ServerState


def find(here: ServerState, name: str, project: str, who: str | None = None) -> Served:
    """The version of that name; a tuned model is loaded when it is first asked for. For others it does not exist.

    `who` decides whether a canary of the name answers (`asker`).
    """
    if name in here.service.names or not naming.is_tuned(name):
        return here.service.find(name, None if who is None else f"{project}\0{who}")
    try:
        with reading() as session:
            version = naming.find(session, name, project).version
    except UsageError:
        return here.service.find(name)  # which says what is known
    return replace(here.service.find_late(version), id=name)  # replies are given by the name that was asked for


def asker(*given: Any) -> str:
    """Who is answered by the same version each time: the first of what the request says of its person, and of how its
    conversation begins."""
    return str(next((one for one in given if one), ""))
