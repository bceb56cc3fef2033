"""The words of the house as plain values: what an example is, and where it came from.

Everything here is frozen and made of tuples, so that an example can be hashed, shared between threads and compared.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call an assistant makes. `arguments` is JSON text, as on the OpenAI wire."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` is meaningful on assistant turns only: 1 is trained, 0 is context (OpenAI's `weight`).

    `reasoning` is what an assistant thought before it answered: a part of its own, never in `content`.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    weight: float = 1.0
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row came from. `line` is 1-based; for Parquet and JSON arrays it is the 1-based row."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages (+ tools) with a weight per assistant message: the one in-memory form of a supervised example.

    Held out, it is graded at its last wanted reply: the last assistant message whose weight is not 0.
    `item` is what else its row says: nothing to learn, but a grader may want it.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source | None = None
    item: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last wanted reply: what a model is shown when this row is held out."""
        return self.messages[: self._at]

    @property
    def reply(self) -> Message | None:
        """The last wanted reply: the reference when this row is held out."""
        return self.messages[self._at] if self._at < len(self.messages) else None

    @property
    def _at(self) -> int:
        places = (i for i in range(len(self.messages) - 1, -1, -1) if self.messages[i].role == "assistant")
        return next((i for i in places if self.messages[i].weight), len(self.messages))


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a chosen and a rejected reply (each one or more messages, the last by the assistant).

    `margin` says how much better, in units of a reward model's score, where people said so. `wanted` says that `chosen`
    is the very reply people want, not only the better of two: it may be learnt by itself.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source | None = None
    margin: float = 0.0
    wanted: bool = False

    @property
    def lesson(self) -> Conversation | None:
        """The wanted reply as a conversation in which it alone is trained; None where nobody said it is wanted."""
        if not self.wanted:
            return None
        before = tuple(replace(m, weight=0.0) if m.role == "assistant" else m for m in self.prompt)
        return Conversation((*before, *self.chosen), self.tools, self.source)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A prompt with one reply and whether it is wanted."""

    prompt: tuple[Message, ...]
    reply: tuple[Message, ...]
    desirable: bool
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A prompt with k replies in the order people gave them: rank 1 is best, equal ranks are ties, none is not ranked.

    `all_bad` means that no reply is good enough ("both bad"): what is said of the order still holds.
    """

    prompt: tuple[Message, ...]
    replies: tuple[tuple[Message, ...], ...]
    ranks: tuple[int | None, ...]
    all_bad: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source | None = None

    @property
    def ties(self) -> int:
        """Pairs of replies that were found equally good."""
        ranked = [rank for rank in self.ranks if rank is not None]
        return sum(a == b for i, a in enumerate(ranked) for b in ranked[:i])

    def pairs(self) -> tuple[Preference, ...]:
        """Every better reply against every worse one. A tie makes none: nobody said which is better."""
        return tuple(
            Preference(self.prompt, better, worse, self.tools, self.source)
            for better, a in zip(self.replies, self.ranks, strict=True)
            for worse, b in zip(self.replies, self.ranks, strict=True)
            if a is not None and b is not None and a < b
        )


@dataclass(frozen=True, slots=True)
class TaskItem:
    """A prompt plus whatever a grader needs to judge a reply: `item` holds every other key of the row."""

    prompt: tuple[Message, ...]
    item: Mapping[str, Any]
    tools: tuple[Mapping[str, Any], ...] = ()
    source: Source | None = None


Example = Conversation | Preference | Judgement | Ranking | TaskItem


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a name stands for: a folder of weights, an adapter over it, the template to use."""

    name: str
    base: str  # what an adapter trained on it would need: a model's id in the store, or a version with all weights
    folder: Path
    adapter: Path | None
    template: str | None  # None: the folder's own
    quantised: bool = False  # the adapter was trained on the weights in 4 bits
    date: datetime.date | None = None  # the day that the template was told in training; None: today's
