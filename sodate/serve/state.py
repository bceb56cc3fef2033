"""What every route finds: the versions that answer, limits, counters, what is kept of exchanges and what is watched."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from sodate.api.answering import Service
from sodate.learn.recorder import Recorder
from sodate.serve.metrics import Metrics
from sodate.serve.originals import Originals
from sodate.serve.settings import Settings
from sodate.serve.watching import Watches


@dataclass(slots=True)
class ServerState:
    """One server. `draining` is set once it takes no new requests."""

    service: Service
    settings: Settings
    metrics: Metrics
    recorder: Recorder
    originals: Originals
    draining: bool = False
    watches: Watches = field(default_factory=Watches)


def server_state(request: Request) -> ServerState:
    found = request.app.state.server_state
    assert isinstance(found, ServerState)
    return found
