"""Sending while the reader reads, and stopping when it does not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sodate.core.errors import SodateError
from sodate.serve import errors

T = TypeVar("T")
LOOKS = 8  # within the time that a reader may take, at how it gets on


def reply_headers(version: str, passages: Sequence[Mapping[str, str]] = ()) -> dict[str, str]:
    """Which version answers, and the passages that stood before the question, in their order."""
    named = {"x-sodate-passages": json.dumps(list(passages))} if passages else {}
    return {"x-sodate-version": version, **named}


def confidence_headers(confidence: Mapping[str, Any] | None) -> dict[str, str]:
    """How sure the (first) reply is, from 0 to 1, and whether a calibration says so."""
    if confidence is None:
        return {}
    said = "calibrated" if confidence["calibrated"] else "uncalibrated"
    return {"x-sodate-confidence": f"{confidence['value']:.4f}", "x-sodate-confidence-kind": said}


async def unless_gone(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work`, which is cancelled as soon as the asker leaves (raises errors.Gone)."""
    result: list[T] = []
    failed: list[BaseException] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result.append(await work())
        except Exception as error:  # carried out of the group, which would wrap it
            failed.append(error)
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not result:
        raise errors.Gone
    return result[0]


def event(data: Mapping[str, Any] | str, name: str | None = None) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}\n\n".encode()


class EventStream(Response):
    """Server-sent events as they come. Ends its source when the reader leaves, or does not read for `patience` s."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], patience: float, headers: Mapping[str, str]) -> None:
        super().__init__(headers={"cache-control": "no-cache", **headers})
        del self.headers["content-length"]
        self.events = events
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self.events) as events, anyio.create_task_group() as group:
            sending: float | None = None  # since when

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            async def watch_sending() -> None:
                """A look now and then: a time limit of its own for every chunk would cost a fifth of what chunks do."""
                while sending is None or anyio.current_time() - sending < self.patience:
                    await anyio.sleep(self.patience / LOOKS)
                group.cancel_scope.cancel()  # the connection is closed with its answer unfinished

            group.start_soon(watch)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            group.start_soon(watch_sending)
            async for chunk in events:
                sending = anyio.current_time()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sending = None
            await send({"type": "http.response.body", "body": b""})
            group.cancel_scope.cancel()


async def primed(request: Request, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """`source` with its first item made: what the engine refuses is refused before a status is sent."""
    first = await unless_gone(request, lambda: anext(source))

    async def all_of_it() -> AsyncGenerator[T, None]:
        async with contextlib.aclosing(source):
            yield first
            async for item in source:
                yield item

    return all_of_it()


async def told_apart(
    events: AsyncGenerator[bytes, None], failed: Callable[[dict[str, Any]], bytes]
) -> AsyncGenerator[bytes, None]:
    """`events`; an error on the way becomes one last event, since the status has long been sent."""
    async with contextlib.aclosing(events):
        try:
            async for chunk in events:
                yield chunk
        except SodateError as error:
            yield failed(errors.known(error)[1])
        except Exception as error:
            yield failed(errors.unknown(error))
