"""What stands before every route: who may ask, how much, and what every answer carries.

Plain ASGI: a middleware that wraps responses would hide from a stream that its reader has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sodate.core.errors import SodateError
from sodate.core.text import Language, reading_in, tr
from sodate.serve import errors
from sodate.serve.metrics import Metrics
from sodate.serve.pages import door
from sodate.serve.settings import Settings
from sodate.serve.who import Doorkeeper, check_token

log = logging.getLogger("sodate.serve")

OPEN_PATHS = ("/healthz", "/readyz", "/metrics")  # say nothing about anybody
_STREAMED = re.compile("/v1/files|/v1/uploads/[^/]+/parts")  # their routes read the body piece by piece
_HEADERS = {  # where the answer does not say otherwise itself
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
    b"referrer-policy": b"same-origin",
}


class Guard:
    """Host, Origin, key, rate, size, then the app."""

    def __init__(
        self, app: ASGIApp, pages: ASGIApp, settings: Settings, metrics: Metrics, doorkeeper: Doorkeeper
    ) -> None:
        """`app` answers programs under /v1, `pages` people everywhere else."""
        self.app = app
        self.pages = pages
        self.settings = settings
        self.metrics = metrics
        self.inside = 0
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        answer = _Answer(send, self.settings)
        start = time.monotonic()
        self.inside += 1
        try:
            with reading_in(language) if (language := _language(scope, headers)) else contextlib.nullcontext():
                await self._answer(scope, headers, receive, answer)
        finally:
            self.inside -= 1
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.answered(route, scope["method"], answer.status, time.monotonic() - start)
            log.info("%s %s %d %s", scope["method"], route, answer.status, answer.request_id)
        return None

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer) -> None:
        people = False
        try:
            self._check_place(headers)
            if self.inside > self.settings.requests:
                raise SodateError(tr("Too many requests at once.", "同時のリクエストが多すぎます。"),
                                  code="rate_limit_exceeded")  # fmt: skip
            path = scope["path"]
            people = door.is_page(path)
            state = scope.setdefault("state", {})
            state["asker"] = None
            if path not in OPEN_PATHS and not (people and door.is_open(path)):
                state["asker"] = asker = await self._doorkeeper.asker(scope, headers)
                state["project"], state["actor"] = asker.project, asker.actor
            if _STREAMED.fullmatch(path):
                check_body = b""
                receive = self._streamed(receive)
            else:
                receive, check_body = await self._received(headers, receive)
            if state["asker"] is not None:
                check_token(state["asker"], scope["method"], headers, check_body)
            if scope["method"] == "HEAD" and not people:  # as GET; the server underneath leaves the body out
                asked = {**scope, "method": "GET"}
                await self.app(asked, receive, answer.send)
                scope["route"] = asked.get("route")
            else:
                await (self.pages if people else self.app)(scope, receive, answer.send)
        except SodateError as error:
            if people and not answer.started:
                await door.refuse(error, scope, receive, answer.send)
            else:
                await answer.refuse(*errors.known(error))
        except Exception as error:  # the app has answered with 500, or could not; nobody above could do more
            if not answer.started:
                await answer.refuse(500, errors.unknown(error))

    def _check_place(self, headers: Headers) -> None:
        """Whoever guides a browser here from elsewhere (DNS rebinding, a form on another page) is sent away."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if not (_is_address(name.strip("[]")) or name.lower() in ("localhost", *self.settings.allowed_hosts)):
            raise SodateError(
                tr("This server is not asked under that name.", "このサーバーはその名前では利用できません。"),
                tr("Use its address, or start it with --allow-host NAME.",
                   "アドレスで指定するか、--allow-host 名前 を付けて起動してください。"),
                code="forbidden", param="host",
            )  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise SodateError(
                tr("Pages of another origin may not use this server.",
                   "ほかのオリジンのページからこのサーバーは利用できません。"),
                code="forbidden", param="origin",
            )  # fmt: skip

    def _streamed(self, receive: Receive) -> Receive:
        """A form with a file in it, which its route reads piece by piece: none may keep us waiting too long."""

        async def next_piece() -> Message:
            try:
                async with asyncio.timeout(self.settings.body_seconds):
                    return await receive()
            except TimeoutError:
                raise _too_slow() from None

        return next_piece

    async def _received(self, headers: Headers, receive: Receive) -> tuple[Receive, bytes]:
        """The body, read whole before a route is asked: no larger than allowed, and not letter by letter."""
        limit = self.settings.body_bytes
        declared = headers.get("content-length", "0")
        too_large = declared.isdecimal() and (len(declared) > 18 or int(declared) > limit)
        body, size, more = bytearray(), 0, True
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        break
                    size += len(message.get("body", b""))
                    more = message.get("more_body", False)
                    too_large = too_large or size > limit
                    # One who sends too much reads the refusal once all is sent; none of it is kept.
                    if too_large:
                        body.clear()
                        if size > 20 * limit:
                            break
                    else:
                        body += message.get("body", b"")
        except TimeoutError:
            raise _too_slow() from None
        if too_large:
            raise SodateError(
                tr(f"The body is larger than {limit} bytes.", f"本文が {limit} バイトを超えています。"),
                code="request_too_large",
            )
        first: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        return replay, bytes(body)


def _too_slow() -> SodateError:
    return SodateError(tr("The body came too slowly.", "本文の送信が遅すぎます。"), code="request_timeout")


class _Answer:
    """What is sent, with the headers that everything carries."""

    def __init__(self, send: Send, settings: Settings) -> None:
        self._send = send
        self.request_id = f"req_{secrets.token_hex(16)}"
        self.status = 499  # nothing was sent: the asker has gone
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            said = [(name, value) for name, value in message.get("headers", ())]
            missing = _HEADERS.keys() - {name.lower() for name, _ in said}
            own = [(b"x-request-id", self.request_id.encode()), *((name, _HEADERS[name]) for name in missing)]
            message = {**message, "headers": [*said, *own]}
        await self._send(message)

    async def refuse(self, status: int, body: dict[str, Any]) -> None:
        if self.started:
            return
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"content-type": "application/json", "content-length": str(len(content)), **errors.headers(status)}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        await self.send({"type": "http.response.body", "body": content})


def _is_address(name: str) -> bool:
    """Whether a host is given as a number: no name, no rebinding."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _language(scope: Scope, headers: Headers) -> Language | None:
    """The reader's language: chosen on a page (`?lang=`, or the cookie that keeps it), else by Accept-Language; None
    where that says neither of ours."""
    chosen = door.chosen_language(scope, headers)
    if chosen is not None:
        return chosen
    wanted: list[tuple[float, Language]] = []
    for part in headers.get("accept-language", "")[:200].split(","):
        name, _, weight = part.strip().partition(";q=")
        for ours in ("ja", "en"):
            if name.lower().split("-")[0] == ours:
                try:
                    wanted.append((float(weight or 1), ours))
                except ValueError:
                    continue
    return max(wanted, key=lambda one: one[0])[1] if wanted else None
