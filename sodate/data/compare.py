"""By what two rows are compared: what they ask, what they answer, and both as one string."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sodate.core.types import Conversation, Example, Judgement, Message, Preference, Ranking, TaskItem
from sodate.data.columns import IDS
from sodate.data.ondisk import Column
from sodate.data.similar import comparable


class FirstSeen:
    """Hash → number of its first occurrence, in 16 to 24 bytes on disk an entry (open addressing)."""

    def __init__(self) -> None:
        self._hashes = Column("q")
        self._numbers = Column("I")
        self._slots = Column("I", zeros=1 << 10)  # position in the two columns + 1, or 0 for an empty slot

    def get(self, value: int) -> int | None:
        """The number stored with this hash, or None."""
        entry = self._slots[self._slot(value)]
        return self._numbers[entry - 1] if entry else None

    def put(self, value: int, number: int) -> None:
        """Stores a hash that `get` does not know."""
        self._hashes.append(value)
        self._numbers.append(number)
        if 2 * len(self._hashes) <= len(self._slots):
            self._slots[self._slot(value)] = len(self._hashes)
            return
        self._slots = Column("I", zeros=2 * len(self._slots))
        for entry in range(1, len(self._hashes) + 1):
            self._slots[self._slot(self._hashes[entry - 1])] = entry

    def _slot(self, value: int) -> int:
        """Where this hash is, or the empty slot where it belongs."""
        slots, hashes = self._slots, self._hashes
        last = len(slots) - 1
        at = value & last
        while (entry := slots[at]) and hashes[entry - 1] != value:
            at = (at + 1) & last
        return at


def prompt_text(messages: Iterable[Message]) -> str:
    """The texts of all but the system messages."""
    return "\n".join(message.content for message in messages if message.role != "system")


def all_messages(example: Example) -> tuple[Message, ...]:
    """Every message of an example, a preference's chosen reply before its rejected one."""
    if isinstance(example, Conversation):
        return example.messages
    return (*example.prompt, *(message for reply in replies_of(example) for message in reply))


def replies_of(example: Example) -> tuple[tuple[Message, ...], ...]:
    """The replies to one prompt: two of a preference, k of a ranking, none of a task item."""
    if isinstance(example, Preference):
        return (example.chosen, example.rejected)
    if isinstance(example, Judgement):
        return (example.reply,)
    return example.replies if isinstance(example, Ranking) else ()


def conversations_of(example: Example) -> list[Conversation]:
    """What a model reads of an example: a conversation for each reply, in which only that reply is trained."""
    if isinstance(example, Conversation):
        return [example]
    asked = tuple(replace(message, weight=0.0) for message in example.prompt)
    return [Conversation((*asked, *reply), example.tools, example.source) for reply in replies_of(example)]


def asked(example: Example) -> str:
    """What the row asks, as compared between rows and files: the prompt without the system messages, which all rows of
    a job share. A row with nothing before its reply (plain text) is compared as a whole."""
    return prompt_text(example.prompt) or prompt_text(all_messages(example))


def prompts(example: Example) -> Iterator[str]:
    """What a training row gives away: the prompt of every turn that is answered in it, what it asks itself last."""
    if isinstance(example, Conversation):
        for number, message in enumerate(example.messages):
            if message.role != "assistant" or number == len(example.prompt):
                continue
            if text := prompt_text(example.messages[:number]):
                yield text
    yield asked(example)


def signature(messages: Sequence[Message]) -> str:
    """One string per content: roles and texts and calls, but no call ids, which differ between copies."""
    parts = []
    for message in messages:
        parts.append(f"{message.role}\x1f{message.content.strip()}\x1f{message.weight}")
        if message.reasoning:
            parts.append(message.reasoning)
        for call in message.tool_calls:
            parts.append(f"{call.name}\x1f{call.arguments}")
    return "\x1e".join(parts)


def answer(example: Example, prompt: Sequence[Message]) -> str:
    """What the row teaches or expects after its prompt, as one string to compare."""
    if isinstance(example, Conversation):
        return signature(example.messages[len(prompt) :])
    if not isinstance(example, TaskItem):
        verdict = (example.desirable,) if isinstance(example, Judgement) else getattr(example, "ranks", ())
        return "\x1d".join([*(signature(reply) for reply in replies_of(example)), *map(str, verdict)])
    return repr(sorted((key, value) for key, value in example.item.items() if key not in IDS))


def answered(example: Example) -> Iterator[tuple[str, str]]:
    """What a training row gives away with its answer: (prompt, answer) of every answered turn, its own last."""
    if isinstance(example, Conversation):
        for number, message in enumerate(example.messages):
            if message.role == "assistant" and number != len(example.prompt) and message.weight:
                yield prompt_text(example.messages[:number]), comparable(signature([message]))
    yield asked(example), said(example)


def said(example: Example) -> str:
    """The answer in the form compared with held-out answers; of a task its reference answer, as if it were a reply."""
    if isinstance(example, TaskItem):
        if isinstance(reference := example.item.get("reference_answer"), str):
            return comparable(signature([Message("assistant", reference)]))
        return comparable(answer(example, example.prompt))
    reply = example.reply if isinstance(example, Conversation) else replies_of(example)[0][-1]
    return comparable(signature([reply])) if reply else ""
