"""Models that graders may ask: those of this machine, loaded when they are asked for, or those a server has loaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sodate.api import structured
from sodate.api.answering import Service
from sodate.api.conversation import Finished, Turn, converse, prepared
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Conversation, Message
from sodate.grade.asking import MAX_TOKENS
from sodate.grade.outcome import How, Said, Turns, Usage
from sodate.grade.outcome import Judges as Judges
from sodate.release.lookup import identity, is_known
from sodate.render import as_bytes

if TYPE_CHECKING:
    from sodate.api.loading import Model

AT_ONCE = 32  # questions before an engine together
BRIEF = 128  # tokens of an answer that no grammar ends, unless the grader says otherwise


class LocalJudges:
    """Bases and versions of this machine. The one asked last stays loaded until another is asked."""

    def __init__(self) -> None:
        self._loaded: tuple[tuple[str, str], Any] | None = None

    def _ready(self, kind: str, model: str, load: Callable[[], Any]) -> Any:
        if self._loaded is None or self._loaded[0] != (kind, model):
            if self._loaded is not None and hasattr(self._loaded[1], "engine"):
                self._loaded[1].engine.close()
            self._loaded = None  # the old one goes before the new one comes
            self._loaded = ((kind, model), load())
        return self._loaded[1]

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        """A reply to each prompt, held to its schema; by an engine that holds to none, asked for it in words."""
        from sodate.api.loading import load

        judge: Model = self._ready(how.engine, model, lambda: load(model, engine=how.engine))
        holds = how.engine == "torch" or judge.renderer.source == as_bytes.SOURCE
        if not holds:
            prompts = [_in_words(prompt, how) for prompt in prompts]
        ids = [judge.renderer.prompt(prompt, ()) for prompt in prompts]
        room = (judge.engine.context_length or how.max_tokens + max(map(len, ids))) - max(map(len, ids))
        constraint = structured.json_constraint(how.schema, "grader") if holds else None
        if constraint is not None and (end := judge.renderer.form.thought_end):
            constraint = structured.after_reasoning(constraint, end)
        brief = not holds and how.max_tokens == MAX_TOKENS and not judge.renderer.thinks
        sampling = _sampling(how, max(1, min(BRIEF if brief else how.max_tokens, room)))
        replies = judge.replies(prompts, sampling, constraint=constraint, batch_size=AT_ONCE)
        return [
            Said(judge.renderer.text(reply.ids).strip(), judge.files.name, Usage(len(asked), len(reply.ids)),
                 reply.finish == "length")
            for asked, reply in zip(ids, replies, strict=True)
        ]  # fmt: skip

    def scores(self, model: str, conversations: Sequence[Turns]) -> Sequence[float]:
        """What a reward model gives the last replies. SodateError where held-out pairs don't speak for it."""
        from sodate.api.rewards import load_reward, proven

        judge = self._ready("reward", model, lambda: load_reward(proven(model)))
        found: list[float] = judge.score([Conversation(tuple(turns)) for turns in conversations])
        return found

    def likelihoods(self, model: str, conversations: Sequence[Turns]) -> Sequence[tuple[float, int]]:
        """The log-probabilities of the last replies, the token that ends them included."""
        from sodate.api.likelihood import Reader

        reader: Reader = self._ready("likelihood", model, lambda: Reader(model))
        return reader.likelihoods(conversations)


def _in_words(prompt: Sequence[Message], how: How) -> list[Message]:
    """The prompt with the form of the answer said in its last turn."""
    result = how.schema["properties"]["result"]
    what = " | ".join(map(json.dumps, result["enum"])) if "enum" in result else "a number"
    if "enum" not in result and "minimum" in result:
        what = f"a number from {result['minimum']:g} to {result['maximum']:g}"
    form = f'\n\nAnswer with one line of JSON alone: {{"result": {what}}}'
    return [*prompt[:-1], replace(prompt[-1], content=prompt[-1].content + form)]


def identities(models: Sequence[str]) -> dict[str, str]:
    """What each model is: its exact bytes where it is known here, else no more than its name."""
    return {model: identity(model) if is_known(model) else f"elsewhere: {model}" for model in models}


class ServedJudges:
    """The models that answer in a server, asked from a thread that runs no event loop."""

    def __init__(self, service: Service, tenant: str) -> None:
        self._service = service
        self._tenant = tenant

    def ask(self, model: str, prompts: Sequence[Sequence[Message]], how: How) -> Sequence[Said]:
        """A reply to each prompt. SodateError where nothing answers under that name."""
        self._service.find(model)
        return asyncio.run(self._all(model, prompts, how))

    def scores(self, model: str, conversations: Sequence[Turns]) -> Sequence[float]:
        """UsageError: a server answers, and weighs nothing."""
        raise _not_here("reward_model")

    def likelihoods(self, model: str, conversations: Sequence[Turns]) -> Sequence[tuple[float, int]]:
        """UsageError: a server answers, and weighs nothing."""
        raise _not_here("perplexity")

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


def _not_here(kind: str) -> UsageError:
    return UsageError(
        tr(f"{kind} is for sodate's own commands; a server answers and weighs nothing.",
           f"{kind} は sodate のコマンド用です。サーバーでは使えません。"),
        code="bad_grader", param="grader",
    )  # fmt: skip


def _sampling(how: How, longest: int) -> Sampling:
    return Sampling(longest, how.temperature, how.top_p, how.seed)
