"""The process: a socket, uvicorn around it, and an end in order."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import sys
import threading
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sodate.api.answering import Service
from sodate.api.judging import ServedJudges
from sodate.core.errors import UsageError
from sodate.core.paths import refusal
from sodate.core.text import en, ja, tr
from sodate.jobs.desk import Desk
from sodate.serve import app, keys
from sodate.serve.inside import Inside
from sodate.serve.settings import Settings
from sodate.serve.state import ServerState

LOOPBACK = ("127.0.0.1", "::1", "localhost")
BACKLOG = 2048
# The engine's thread asks for Python back after each compiled call of a token: not 5 ms later, as is usual.
SWITCH_SECONDS = 0.0002
LAST_WORDS = 2.0  # seconds for replies that were ended at the deadline to say so


def check(settings: Settings) -> None:
    """Refuses to be reached from elsewhere by whoever likes."""
    if settings.host in LOOPBACK:
        return
    if not settings.auth:
        raise UsageError(
            tr(f"--no-auth is for this machine alone, and {settings.host} can be reached from others.",
               f"--no-auth は自分のマシンだけで使うものです。{settings.host} はほかのマシンからも接続できます。"),
            tr("Leave it out, or use --host 127.0.0.1.",
               "--no-auth を外すか、--host 127.0.0.1 を指定してください。"),
            param="no-auth",
            code="bad_value",
        )  # fmt: skip
    if not keys.any_valid():
        raise UsageError(
            tr(f"{settings.host} can be reached from other machines, and there is no key yet.",
               f"{settings.host} はほかのマシンからも接続できますが、キーがまだありません。"),
            "sodate keys create",
            param="host",
            code="key_missing",
        )  # fmt: skip


def bind(settings: Settings) -> socket.socket:
    """The socket, which listens only once the server is ready; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. asyncio sets it by itself only where a socket names its protocol; without it the body of
    # an answer waits 40 ms, until the head is acknowledged, and each token of a stream for the one before.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        why = refusal(error)
        raise UsageError(
            tr(f"{settings.host}:{settings.port} cannot be listened on: {en(why)}.",
               f"{settings.host}:{settings.port} で待ち受けできません: {ja(why)}"),
            tr("Choose another --port or --host.", "別の --port または --host を指定してください。"),
            param="port",
            code="address_unavailable",
        ) from None  # fmt: skip
    return listening


def run(
    service: Service,
    settings: Settings,
    listening: socket.socket,
    on_ready: Callable[[Server], None] = lambda _server: None,
) -> None:
    """Serves until SIGTERM or SIGINT; running replies then have `drain_seconds`. The engine is closed at the end."""
    _allow_many_connections()
    sys.setswitchinterval(SWITCH_SECONDS)
    application, server_state = app.build(service, settings)
    desk = Desk(Inside(application.app), lambda project: ServedJudges(service, project))
    # Request lines hold what was asked for, and prompts may be in them: uvicorn's own log of them stays off.
    config = uvicorn.Config(
        application, http=_Protocol, ws="none", lifespan="off", access_log=False, log_config=None, backlog=BACKLOG,
        server_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=int(settings.drain_seconds + LAST_WORDS),
    )  # fmt: skip
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).disabled = True
    _Protocol.header_seconds = settings.header_seconds
    try:
        Server(config, server_state, on_ready).run(sockets=[listening])
    finally:
        listening.close()
        desk.close()
        server_state.recorder.close()
        service.close()


class Server(uvicorn.Server):
    """uvicorn's, which ends with status 0 once it has drained, and tells the house when draining begins."""

    def __init__(self, config: uvicorn.Config, server_state: ServerState, on_ready: Callable[[Server], None]) -> None:
        super().__init__(config)
        self._state = server_state
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready(self)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal is not raised once more at the end: an orderly end is not a death by signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._state.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.draining = True
        deadline = threading.Timer(self._state.settings.drain_seconds, self._end_replies)
        deadline.start()
        try:
            await super().shutdown(sockets)
        finally:
            deadline.cancel()

    def _end_replies(self) -> None:
        for engine in self._state.service.engines:
            engine.end_all("shutting_down")


class _Protocol(H11Protocol):
    """A connection that has to send the head of its request within `header_seconds`, the first and each later one."""

    header_seconds = 10.0
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the head is complete
            self._stop()
        elif self._timer is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._timer = self.loop.call_later(self.header_seconds, self._too_slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()


def _allow_many_connections() -> None:
    """As many open files as the system lets us: a connection is one, and shells often start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted: Any = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
