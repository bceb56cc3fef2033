"""Where text meets engines: versions by name, prompts in, pieces of text out.

A request is rendered by its version's own Renderer, put before the engine that holds the version, and comes back as
text that is cut at stop strings. Whoever closes the stream early has let go of the request.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sodate.api import enum_options
from sodate.api.enum_options import Choice
from sodate.api.late import LateVersions
from sodate.api.retrieval import Retriever
from sodate.api.text_stream import Detokeniser, Scored, StopStrings, TokenBytes
from sodate.api.worker import EngineThread, Mail
from sodate.core.engine import Constraint, Done, Event, Request, Sampling, Token
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.release.canary import takes
from sodate.render import as_bytes
from sodate.render.renderer import Renderer

NOT_ITS_FAULT = ("rate_limit_exceeded", "slow_reader", "shutting_down", "busy")  # errors that say nothing of a version
STALLED = 2_000  # tokens that wait for a reader who does not read, before its request is let go of


@dataclass(frozen=True, slots=True)
class Served:
    """A version that answers. `id` is exact (`orders@3`), `version` the engine's name for it, `context` in tokens.

    `base` is what its vectors are of: the base model, or the version itself where it is merged into its weights.
    `model` is what the engine computes with, None where it lies elsewhere; `select(version)` readies it for a forward
    of that version's rows, "" being the base. `retriever` finds the passages that stand before each question.
    """

    id: str
    base: str
    renderer: Renderer
    tokens: TokenBytes
    engine: EngineThread
    version: str
    context: int
    created: int
    model: Any = None
    select: Callable[[str], None] = lambda version: None
    retriever: Retriever | None = None

    @property
    def text(self) -> bool:
        """Whether its engine knows text alone: its ids are bytes, and it tells no log-probabilities."""
        return self.renderer.source == as_bytes.SOURCE


@dataclass(frozen=True, slots=True)
class Ask:
    """One reply wanted: a prompt as ids, how tokens are chosen, the texts before which it ends."""

    served: Served
    prompt: Sequence[int]
    sampling: Sampling
    stop: tuple[str, ...] = ()
    constraint: Constraint | None = None
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that was added to a reply, and the tokens that begin in it."""

    text: str
    tokens: tuple[Scored, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """A reply is complete. `ids` are all its tokens, those that a stop string cut away among them.

    `stop` is the control token that ended it; `cached` of the prompt's tokens were found computed. `counted` is as in
    core/engine.py. `cut`: a stop string ended it, wherever its form was.
    """

    finish: Literal["stop", "length"]
    ids: tuple[int, ...]
    stop: Scored | None = None
    cached: int = 0
    counted: tuple[int, int] | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Canary:
    """A version that answers a share of those who ask by a name; `salt` makes each canary's share another one."""

    served: Served
    share: float
    salt: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: the seconds it took, the tokens of its reply, and whether it failed by no fault of whoever
    asked."""

    served: Served
    seconds: float
    tokens: int
    failed: bool


class Service:
    """The versions that answer, under the names they are asked by."""

    def __init__(
        self, served: Sequence[Served], names: Mapping[str, Served], release: Callable[[], None] = lambda: None
    ) -> None:
        """`release` is called once nothing of the versions is needed any more."""
        self.served = tuple(served)
        self.late = LateVersions()  # they have no names of their own: who may ask for one is decided before
        self.on_end: Callable[[Ask, End], None] = lambda ask, end: None  # told of every reply that was given whole
        self.canaries: dict[str, Canary] = {}  # by the name that is asked for
        self.on_outcome: Callable[[Outcome], None] = lambda outcome: None
        # What became of the requests of an alias's canary and of its stable version; None where nobody counts them.
        self.canary_figures: Callable[[str], dict[str, Any] | None] = lambda alias: None
        self._release = release
        self._stops: list[Callable[[], None]] = []
        self.names = {**{one.id: one for one in served}, **names}
        self.open_version: Callable[[str], Served] = self.find  # loads one beside those that answer
        self.close_version: Callable[[Served], None] = lambda served: None  # frees one that none of these is
        self._numbers = itertools.count(1)
        self._mail = Mail()

    @property
    def engines(self) -> list[EngineThread]:
        """Every engine once."""
        return list(dict.fromkeys(one.engine for one in self.all))

    @property
    def all(self) -> list[Served]:
        """Every version that is loaded."""
        return [*self.served, *self.late.served.values()]

    @property
    def ready(self) -> bool:
        """Whether every version can answer."""
        return all(engine.alive for engine in self.engines)

    def find(self, name: str, who: str | None = None) -> Served:
        """The version of that name. A name never fetches or opens anything: it is one of those known, or an error.

        `who` asks: where the name has a canary, it answers some of those, the same ones each time.
        """
        canary, found = self.canaries.get(name), self.names.get(name)
        if canary is not None and who is not None and takes(canary.salt, who, canary.share):
            return canary.served
        if found is None:
            raise UsageError(
                tr(f"The model {name[:100]!r} does not exist here.", f"モデル {name[:100]!r} はありません。"),
                tr(f"Known: {', '.join(self.names)}.", f"使えるモデル: {', '.join(self.names)}"),
                code="model_not_found", param="model",
            )  # fmt: skip
        return found

    def find_late(self, name: str) -> Served:
        """A version by its exact name, loaded if it is not yet."""
        return self.late.find(name, self.open_version, self.close_version)

    def on_close(self, stop: Callable[[], None]) -> None:
        """`stop` is called when the service ends, before its engines do."""
        self._stops.append(stop)

    def put(self, served: Served, names: Iterable[str]) -> None:
        """`served` answers under `names` from the next request on; a reply under way ends on what it began with."""
        if served not in self.served:
            self.served = (*self.served, served)
        self.names = {**self.names, served.id: served, **dict.fromkeys(names, served)}

    def drop(self, served: Served) -> None:
        """Takes away what no alias means any more."""
        self.names = {name: one for name, one in self.names.items() if one is not served}
        self.served = tuple(one for one in self.served if one is not served)

    async def reply(self, ask: Ask) -> AsyncGenerator[Piece | End, None]:
        """The reply in pieces, its End last. Raises SodateError where there is no room or the engine gave up."""
        stream = self._stream(ask)
        pieces = _Pieces(ask)
        began = time.monotonic()
        try:
            async for event in stream:
                if isinstance(event, Token):
                    piece = pieces.push(event)
                    if piece:
                        yield piece
                    if pieces.stopped:
                        yield self._ended(ask, End("stop", tuple(pieces.ids), cached=event.cached, cut=True), began)
                        return
                else:
                    last = pieces.flush()
                    if last:
                        yield last
                    full = event.finish == "length" and not pieces.stopped
                    finish: Literal["stop", "length"] = "length" if full else "stop"
                    end = End(finish, tuple(pieces.ids), pieces.stop, event.cached, event.counted, pieces.stopped)
                    yield self._ended(ask, end, began)
        except Exception as error:
            if not isinstance(error, UsageError) and getattr(error, "code", "") not in NOT_ITS_FAULT:
                self.on_outcome(Outcome(ask.served, time.monotonic() - began, len(pieces.ids), failed=True))
            raise
        finally:
            await stream.aclose()

    def _ended(self, ask: Ask, end: End, began: float) -> End:
        self.on_end(ask, end)
        self.on_outcome(Outcome(ask.served, time.monotonic() - began, len(end.ids), failed=False))
        return end

    async def score(self, served: Served, rows: Sequence[Sequence[int]], top: int) -> list[list[Scored]]:
        """For each row of ids the scores of all but its first token, then that of the token likeliest to follow."""
        from sodate.generate import scoring

        def work() -> list[list[scoring.Score]]:
            served.select(served.version)
            return scoring.score(served.model, rows, max(top, 1))

        scores = await self._computed(served, work)
        ids = [[*row[1:], own[-1].top[0][0]] for row, own in zip(rows, scores, strict=True)]
        return [
            [served.tokens.scored(id, one.log_probability, one.top) for id, one in zip(mine, own, strict=True)]
            for mine, own in zip(ids, scores, strict=True)
        ]

    async def likely(
        self, served: Served, prompt: Sequence[int], choices: Sequence[Choice]
    ) -> dict[str, dict[str, float]]:
        """Of each field of a reply to `prompt` the log-probability of every option that stood in its place."""

        def work() -> dict[str, dict[str, float]]:
            served.select(served.version)
            return enum_options.told(served.model, prompt, choices)

        found: dict[str, dict[str, float]] = await self._computed(served, work)
        return found

    async def embed(self, served: Served, ids: Sequence[int]) -> list[float]:
        """The vector of a text, of length 1, by the model that `base` names."""
        from sodate.generate import scoring

        def work() -> list[float]:
            served.select("")
            return scoring.embed(served.model, [ids])[0]

        found: list[float] = await self._computed(served, work)
        return found

    async def _computed(self, served: Served, work: Callable[[], Any]) -> Any:
        """What `work` gives, run between two steps of the engine."""
        if served.model is None:
            raise UsageError(
                tr("The engine of this model gives no scores of prompts and no vectors.",
                   "このモデルのエンジンでは、プロンプトの対数確率も埋め込みも計算できません。"),
                tr("Serve it by --engine torch.", "--engine torch で起動してください。"),
                code="engine_refused", param="model",
            )  # fmt: skip
        return await asyncio.wrap_future(served.engine.call(work))

    async def _stream(self, ask: Ask) -> AsyncGenerator[Token | Done, None]:
        """The engine's events about a request, which is let go of when this is closed before its end."""
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()

        def keep(told: list[Event]) -> None:
            for event in told:
                events.put_nowait(event)
            if events.qsize() > STALLED:
                ask.served.engine.cancel(number)
                events.put_nowait(Done(number, "cancelled", error="slow_reader"))

        def hear(told: list[Event]) -> None:
            self._mail(loop, lambda: keep(told))

        request = Request(
            number, ask.prompt, ask.served.renderer.stop_ids, ask.sampling, ask.served.version, ask.constraint,
            ask.tenant,
        )  # fmt: skip
        if not ask.served.engine.submit(request, hear):
            raise SodateError(
                tr("Too many requests are waiting.", "待っているリクエストが多すぎます。"),
                tr("Try again in a moment.", "少し待ってからもう一度お試しください。"),
                code="rate_limit_exceeded",
            )  # fmt: skip
        done = False
        try:
            while not done:
                event = await events.get()
                if isinstance(event, Done):
                    done = True
                    if event.cause is not None:
                        raise event.cause
                    if event.error is not None:
                        raise _failed(event.error)
                yield event
        finally:
            if not done:
                ask.served.engine.cancel(number)

    def close(self) -> None:
        """Ends the engines; what they were doing is lost."""
        for stop in self._stops:
            stop()
        for engine in self.engines:
            engine.close()
        self.late.close()
        self._release()


def _failed(error: str) -> SodateError:
    if error == "shutting_down":
        return SodateError(tr("The server is shutting down.", "サーバーを終了しています。"), code="shutting_down")
    if error == "slow_reader":
        return SodateError(tr("The reader is too slow.", "読み取りが遅すぎます。"), code="slow_reader")
    return SodateError(
        tr("The engine failed; the reason is in the server's log.",
           "エンジンでエラーが起きました。理由はサーバーのログにあります。"),
        code="engine_failed",
    )  # fmt: skip


class _Pieces:
    """Tokens of one reply into its pieces of text, with each token in the piece where its text begins."""

    def __init__(self, ask: Ask) -> None:
        self.ids: list[int] = []
        self.stop: Scored | None = None
        self._stop_ids = frozenset(ask.served.renderer.stop_ids)
        self._tokens = ask.served.tokens
        self._text = Detokeniser(ask.served.renderer.decode)
        self._stops = StopStrings(ask.stop)
        self._made = 0  # characters decoded
        self._given = 0  # characters handed on
        self._pending: list[tuple[int, Scored]] = []  # tokens not handed on, and where their text begins

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self._stops.hit is not None

    def push(self, token: Token) -> Piece | None:
        """The piece that a token completes, if it does."""
        self.ids.append(token.id)
        if token.id in self._stop_ids:
            self.stop = self._tokens.of(token)
            return None
        self._pending.append((self._made, self._tokens.of(token)))
        new = self._text.push(token.id)
        self._made += len(new)
        return self._piece(self._stops.push(new), new)

    def flush(self) -> Piece | None:
        """What is left when the reply has ended."""
        rest = self._text.flush()
        text = self._stops.push(rest)
        return self._piece(text + ("" if self.stopped else self._stops.flush()), rest, last=True)

    def _piece(self, text: str, new: str, last: bool = False) -> Piece | None:
        self._given += len(text)
        if self.stopped:
            told = [scored for at, scored in self._pending if at < self._given]
            self._pending = []
        elif last:
            told = [scored for _, scored in self._pending]
        else:
            count = sum(at < self._given for at, _ in self._pending)
            told = [scored for _, scored in self._pending[:count]]
            self._pending = self._pending[count:]
        return Piece(text, tuple(told)) if text or told else None
