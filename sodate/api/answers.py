"""The replies of a model to the items of an evaluation."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sodate.api import structured
from sodate.core.load import look_around, others
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.data import tasks
from sodate.evaluate.answered import Answered
from sodate.evaluate.confidence import of_reply
from sodate.evaluate.items import EvalItem

if TYPE_CHECKING:
    from sodate.grade import Grader

THOUGHT = 1024  # tokens a reply may think before it answers, if its template has a place for that
FREE = 256  # tokens where nothing says how long a reply is


def room_for(items: Sequence[EvalItem], renderer: Any, graders: Sequence[Grader], held: bool = False) -> int:
    """Tokens a reply may have: a quarter more than the longest reference, where right replies are about as long.

    One that is `held` to a schema may be longer: it is worth nothing before its last brace. Where the template has a
    place for reasoning, there is room for some before the answer.
    """
    longest = max(renderer.token_count(item.reference or "") for item in items)
    room = int(longest + longest // 4 + 8)
    room = room if longest and all(grader.whole for grader in graders) and not held else max(FREE, room)
    return room + THOUGHT if renderer.thinks else room


@dataclass(frozen=True, slots=True)
class Made:
    """The replies of one model to all items: `texts`, what was `thoughts` before them, how many were `cut_off` by the
    longest length, who `answered`, and how sure it was of each from its tokens, by item (none where its engine tells no
    probabilities)."""

    texts: list[str]
    thoughts: list[str]
    cut_off: int
    answered: Answered
    sure: Mapping[int, float]


def make(
    model: Any, name: str, prompts: list[list[Message]], tools: list[tuple[Any, ...]], left_out: Mapping[int, str],
    max_new_tokens: int, batch_size: int, on_event: Callable[[str, Any], None], schema: Any = None, alone: int = 0,
) -> Made:  # fmt: skip
    """Greedy replies to all prompts but those that are `left_out`, which have empty ones; held to a JSON `schema` where
    there is one. The first `alone` of them are answered one at a time, and the others together."""
    from sodate.core.engine import Sampling

    asked = [number for number in range(len(prompts)) if number not in left_out]
    total = len(asked)
    done = 0

    def on_reply(number: int, reply: Any) -> None:
        nonlocal done
        done += 1
        on_event("reply", {"model": name, "done": done, "total": total, "tokens": reply.tokens})

    constraint = None if schema is None else structured.reply_constraint(schema, "schema", model.renderer)

    def answer(numbers: Sequence[int], at_once: int, told: Callable[[int, Any], None] | None) -> tuple[Any, float]:
        began = time.monotonic()
        made = model.replies(
            [prompts[n] for n in numbers], Sampling(max_new_tokens=max_new_tokens), tools=[tools[n] for n in numbers],
            constraint=constraint, batch_size=at_once, on_reply=told,
        )  # fmt: skip
        return made, time.monotonic() - began

    first = look_around()
    singly = [answer([number], 1, on_reply) for number in asked[:alone]]
    busy = others(first, now) if singly and first and (now := look_around()) else None
    together, seconds = answer(asked[alone:], batch_size, on_reply) if asked[alone:] else ([], 0.0)
    replies, times = [*(made[0] for made, _ in singly), *together], [spent for _, spent in singly]
    seconds += sum(times)
    texts, thoughts = [""] * len(prompts), [""] * len(prompts)
    for number, reply in zip(asked, replies, strict=True):
        texts[number] = tasks.generated(model.renderer, reply.ids, tools[number])
        thoughts[number] = model.renderer.split(reply.ids)[0]
    engine, tokens = model.engine, sum(reply.tokens for reply in replies)
    read = sum(reply.counted[0] if reply.counted else len(model.renderer.prompt(prompts[n], tools[n]))
               for n, reply in zip(asked, replies, strict=True))  # fmt: skip
    waited = sorted(reply.seconds for reply in together or replies)
    took = Answered(
        engine.name, engine.details, seconds, tokens, engine.figures, len(asked), read, tuple(waited),
        statistics.median(times) if times else None, busy,
    )  # fmt: skip
    sure = {
        number: value for number, reply in zip(asked, replies, strict=True)
        if (value := of_content(model.renderer, reply)) is not None
    }  # fmt: skip
    return Made(texts, thoughts, sum(reply.finish == "length" for reply in replies), took, sure)


def of_content(renderer: Any, reply: Any) -> float | None:
    """The confidence of a reply without its stop token; None where its engine tells no probabilities."""
    stops = frozenset(renderer.stop_ids)
    known = [p for id, p in zip(reply.ids, reply.log_probabilities, strict=True) if id not in stops]
    return of_reply(known) if all(p is not None and not math.isnan(p) for p in known) and known else None


def overlong(model: Any, prompts: list[list[Message]], tools: list[tuple[Any, ...]]) -> dict[int, str]:
    """The prompts, by number, that leave no room for a reply, and why."""
    counts = [len(model.renderer.prompt(prompt, offered)) for prompt, offered in zip(prompts, tools, strict=True)]
    longest = model.engine.context_length
    return {
        number: tr(f"no reply: the prompt has {count} tokens, and there is room for {longest} with its reply",
                   f"返答なし: プロンプトが {count} トークンあり、返答込みの上限 {longest} を超えています")
        for number, count in enumerate(counts) if longest and count >= longest
    }  # fmt: skip
