"""Replies to many prompts at once, by any engine: what evaluation, rollouts and chat call. Greedy output equals
transformers' `generate`; log-probabilities are those of the distribution that was sampled from."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sodate.core.engine import Done, Engine, Request, Sampling
from sodate.core.errors import SodateError
from sodate.generate.pool import BLOCK
from sodate.generate.torch_engine import TorchEngine


@dataclass(frozen=True, slots=True)
class Reply:
    """`ids` end with the stop token when `finish` is "stop". `log_probabilities` (nats) has one entry per id.
    `counted` is that of `Done`, `seconds` went by from its admission to its end."""

    ids: list[int]
    log_probabilities: list[float]
    finish: Literal["stop", "length"]
    counted: tuple[int, int] | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def tokens(self) -> int:
        """Tokens of the reply as its engine counts them."""
        return self.counted[1] if self.counted else len(self.ids)


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    sampling: Sampling,
    *,
    batch_size: int = 32,
    on_token: Callable[[int, int], None] | None = None,
    on_reply: Callable[[int, Reply], None] | None = None,
) -> list[Reply]:
    """One reply per prompt, in the prompts' order, by an engine of its own: nothing is remembered.

    Replies don't depend on `batch_size` beyond rounding: every prompt has its own random stream, from (seed, number).
    `on_token(number, id)` is called for every token, `on_reply(number, reply)` when one is complete.
    """
    if not prompts:
        return []
    requests = numbered(prompts, stop_ids, sampling)
    batch_size = min(batch_size, len(prompts))
    longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
    engine = TorchEngine(model, slots=batch_size, tokens=batch_size * (longest + BLOCK), beside=None)
    return run(engine, requests, batch_size, on_token=on_token, on_reply=on_reply)


def numbered(
    prompts: Sequence[Sequence[int]], stop_ids: Sequence[int], sampling: Sampling, *, first: int = 0, version: str = ""
) -> list[Request]:
    """A request for each prompt, with a random stream of its own; numbers count from `first`."""
    return [
        Request(first + i, prompt, stop_ids, replace(sampling, stream=i), version) for i, prompt in enumerate(prompts)
    ]


def run(
    engine: Engine,
    requests: Sequence[Request],
    at_once: int,
    *,
    on_token: Callable[[int, int], None] | None = None,
    on_reply: Callable[[int, Reply], None] | None = None,
) -> list[Reply]:
    """The replies to `requests`, `at_once` under way at most. Both callbacks count them from 0."""
    # Long prompts first: the rest finishes in full batches.
    waiting = deque(sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt)))
    position = {request.number: i for i, request in enumerate(requests)}
    under_way: dict[int, tuple[list[int], list[float]]] = {}
    began: dict[int, float] = {}
    replies: dict[int, Reply] = {}
    try:
        while waiting or under_way:
            # Refill when a quarter is free: prefilling a few prompts at once shares what they begin with.
            free = at_once - len(under_way)
            if waiting and (not under_way or free * 4 >= at_once or free >= len(waiting)):
                while waiting and len(under_way) < at_once and _admitted(engine, requests[waiting[0]], bool(under_way)):
                    began[waiting[0]] = time.monotonic()
                    under_way[waiting.popleft()] = [], []
            for event in engine.step():
                i = position[event.number]
                ids, log_probabilities = under_way[i]
                if not isinstance(event, Done):
                    ids.append(event.id)
                    log_probabilities.append(event.log_probability)
                    if on_token:
                        on_token(i, event.id)
                    continue
                if event.error is not None:
                    raise event.cause or SodateError(event.error, code="engine_failed")
                finish: Literal["stop", "length"] = "stop" if event.finish == "stop" else "length"
                took = time.monotonic() - began.pop(i)
                replies[i] = Reply(ids, log_probabilities, finish, event.counted, took)
                del under_way[i]
                if on_reply:
                    on_reply(i, replies[i])
    finally:
        for i in under_way:  # somebody stopped it
            engine.cancel(requests[i].number)
    return [replies[i] for i in range(len(requests))]


def _admitted(engine: Engine, request: Request, others: bool) -> bool:
    """Whether the engine took the request; False if it is busy with others."""
    try:
        engine.admit(request)
    except SodateError as error:
        if error.code != "busy" or not others:
            raise
        return False
    return True
