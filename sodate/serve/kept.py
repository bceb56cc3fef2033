"""From a request that was answered to the exchange that may be kept of it. Costs next to nothing here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sodate.api.conversation import BrokenForm, Finished, Turn
from sodate.core.types import Message
from sodate.learn.exchange import BROKEN, Exchange
from sodate.serve.state import ServerState
from sodate.serve.wire import ChatRequest, ResponseRequest

SESSION = ("session_id", "session")  # keys of a request's metadata that name its session


def keep(
    here: ServerState,
    kind: str,
    id: str,
    turn: Turn,
    messages: tuple[Message, ...],
    done: Sequence[Finished],
    started: float,
    asked: ChatRequest | ResponseRequest,
    broken: str | None = None,
) -> None:
    """Hands an answered request to the recorder. `messages` are those that were asked, `started` is of the monotonic
    clock; `broken` is a reply that was not sent, because it is not of the form that was asked for."""
    if not here.recorder.wants(turn.tenant, id):
        return
    first = done[0] if done else None
    replies = tuple(one.message for one in done) if broken is None else (Message("assistant", broken),)
    here.recorder.put(
        Exchange(
            id=id, project=turn.tenant, kind=kind, version=turn.served.id, created_at=int(time.time()),
            messages=messages, replies=replies, finish=first.finish if first else BROKEN,
            tools=tuple(tool["function"]["name"] for tool in turn.tools), passages=turn.passages,
            formed=turn.schema is not None, grounded=turn.served.retriever is not None,
            latency_ms=int(1000 * (time.monotonic() - started)),
            prompt_tokens=first.prompt_tokens if first else None,
            reply_tokens=sum(one.reply_tokens for one in done) if first else None,
            confidence=float(first.confidence["value"]) if first and first.confidence else None,
            user=asked.safety_identifier or asked.user, session=_session(asked.metadata),
        )
    )  # fmt: skip


@contextlib.contextmanager
def broken_too(keep_broken: Callable[[str], None]) -> Iterator[None]:
    """Hands on a reply that the block refuses to send because it is not of its form."""
    try:
        yield
    except BrokenForm as error:
        keep_broken(error.reply)
        raise


def _session(metadata: dict[str, Any] | None) -> str | None:
    return next((str(metadata[key]) for key in SESSION if metadata and key in metadata), None)
