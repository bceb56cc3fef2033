"""Models that graders may ask: those of this machine, loaded when they are asked for, or those a server has loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sodate.api import structured
from sodate.api.answering import Service
from sodate.api.conversation import Finished, Turn, converse, prepared
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError
from sodate.core.types import Message
from sodate.grade.outcome import How, Said, Usage
from sodate.grade.outcome import Judges as Judges

if TYPE_CHECKING:
    from sodate.api.loading import Model

AT_ONCE = 32  # questions before an engine together


class LocalJudges:
    """Bases and versions of this machine. The one asked last stays loaded until another is asked."""

    def __init__(self) -> None:
        self._loaded: tuple[str, Model] | None = None

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        """A reply to each prompt, held to its schema."""
        from sodate.api.loading import load

        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # the old one goes before the new one comes
            self._loaded = (model, load(model))
        judge = self._loaded[1]
        ids = [judge.renderer.prompt(prompt, ()) for prompt in prompts]
        room = judge.engine.context_length - max(map(len, ids))
        constraint = structured.json_constraint(how.schema, "grader")
        if end := judge.renderer.form.thought_end:
            constraint = structured.after_reasoning(constraint, end)
        sampling = _sampling(how, max(1, min(how.max_tokens, room)))
        replies = judge.replies(prompts, sampling, constraint=constraint, batch_size=AT_ONCE)
        return [
            Said(judge.renderer.text(reply.ids).strip(), judge.files.name, Usage(len(asked), len(reply.ids)),
                 reply.finish == "length")
            for asked, reply in zip(ids, replies, strict=True)
        ]  # fmt: skip


class ServedJudges:
    """The models that answer in a server, asked from a thread that runs no event loop."""

    def __init__(self, service: Service, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        """A reply to each prompt. SodateError where nothing answers under that name."""
        self._service.find(model)
        return asyncio.run(self._all(model, prompts, how))

    async def _all(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> list[Said]:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, prompt: Sequence[Message]) -> Said:
            async with room:
                try:
                    return await self._one(model, number, prompt, how)
                except SodateError as error:  # a prompt too long, an engine that gave up
                    if error.code == "shutting_down":
                        raise
                    return Said("", self._service.find(model).id, failed=error.message)

        return await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts)))

    async def _one(self, model: str, number: int, prompt: Sequence[Message], how: How) -> Said:
        served = self._service.find(model)
        room = served.context - len(served.renderer.prompt(prompt, ()))
        sampling = replace(_sampling(how, max(1, min(how.max_tokens, room))), stream=number)
        turn = Turn(served, tuple(prompt), sampling, tenant=self._tenant)
        ask = prepared(replace(turn, schema=how.schema))
        # The turn itself has no schema: a reply that was cut off is the grader's to read, and no error here.
        async with contextlib.aclosing(converse(self._service, turn, ask)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    usage = Usage(delta.prompt_tokens, delta.reply_tokens, delta.cached)
                    return Said(delta.message.content.strip(), served.id, usage, delta.finish == "length")
        raise AssertionError("a reply has an end")


def _sampling(how: How, longest: int) -> Sampling:
    return Sampling(longest, how.temperature, how.top_p, how.seed)
