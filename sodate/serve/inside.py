"""The server asked by itself: a request of a batch or an eval, answered by the routes as if it came over the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message

ACTOR = "server"


class Inside:
    """Sends bodies to paths of an application, past the guard: whose they are was settled when the work was made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, path: str, body: Mapping[str, Any], project: str) -> tuple[int, dict[str, Any]]:
        """The status and the JSON of the answer."""
        content = json.dumps(body).encode()
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": None,
            "server": None, "state": {"project": project, "actor": ACTOR},
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())],
        }  # fmt: skip
        waiting: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
        status, said = 500, bytearray()

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()  # the asker never goes away
            raise AssertionError

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            said.extend(message.get("body", b""))

        await self._app(scope, receive, send)
        answer = json.loads(said)
        return status, answer if isinstance(answer, dict) else {"data": answer}
