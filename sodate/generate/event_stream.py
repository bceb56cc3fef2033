"""A request over HTTP whose answer comes as server-sent events, and which another thread may break off."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

LONGEST_LINE = 1 << 24  # bytes of one event
LONGEST_ERROR = 1 << 16  # bytes read of an answer that is an error


class Refusal(Exception):
    """The server answered with another status than 200; `body` is what it said, as JSON if it was."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers.items()}


# What a connection that fails, stays silent for longer than its timeout, or says what is no JSON ends with.
BROKEN = (OSError, ValueError, http.client.HTTPException)


def fetch(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: Mapping[str, str]
) -> Any:  # fmt: skip
    """The whole answer, as JSON. Raises what is in BROKEN, and Refusal."""
    answer = None
    try:
        sent = {"Content-Type": "application/json", **headers}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Refusal(answer.status, _read(answer.read(LONGEST_ERROR)), dict(answer.headers))
        return json.loads(answer.read(LONGEST_LINE))
    finally:
        if answer is not None:
            answer.close()
        connection.close()


class EventStream:
    """One request. Raises what is in BROKEN, and Refusal."""

    def __init__(self, connect: Callable[[], http.client.HTTPConnection]) -> None:
        self._connect = connect
        self._socket: socket.socket | None = None
        self._broken_off = False

    def events(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The JSON of each event, until the answer ends or says `[DONE]`. A whole answer that is JSON is one event."""
        connection, answer = self._connect(), None
        try:
            connection.connect()
            self._socket = connection.sock
            if self._broken_off:
                raise ConnectionAbortedError
            sent = {"Content-Type": "application/json", "Accept": "text/event-stream", **headers}
            connection.request("POST", path, json.dumps(body), sent)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Refusal(answer.status, _read(answer.read(LONGEST_ERROR)), dict(answer.headers))
            if answer.headers.get_content_type() == "application/json":
                yield _event(answer.read(LONGEST_LINE))
                return
            while line := answer.readline(LONGEST_LINE):
                if line.startswith(b"data:"):
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    yield _event(data)
        finally:
            if answer is not None:
                answer.close()  # it holds the socket where the connection has let go of it
            connection.close()

    def break_off(self) -> None:
        """Ends the connection from another thread: whoever reads from it finds it closed."""
        self._broken_off = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _event(data: bytes) -> dict[str, Any]:
    event = json.loads(data)
    if not isinstance(event, dict):
        raise ValueError("no JSON object")
    return event


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
