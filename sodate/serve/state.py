"""What every route finds: the versions that answer, the limits, the counters, what is kept of exchanges."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from sodate.api.answering import Service
from sodate.learn.recorder import Recorder
from sodate.serve.metrics import Metrics
from sodate.serve.settings import Settings


@dataclass(slots=True)
class ServerState:
    """One server. `draining` is set once it takes no new requests."""

    service: Service
    settings: Settings
    metrics: Metrics
    recorder: Recorder
    draining: bool = False


def server_state(request: Request) -> ServerState:
    found = request.app.state.server_state
    assert isinstance(found, ServerState)
    return found
