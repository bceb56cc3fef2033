"""What a model thinks before it answers: where a template puts it, and how it is told from the answer again.

A thought is found by the text around it, learnt from what the template renders; never by a family's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from sodate.core.types import Message

# Keys under which templates look for it: Qwen and GLM, gpt-oss, newer servers. INLINE: tags at the head of the content.
INLINE = "content"
KEYS = ("reasoning_content", "thinking", "reasoning", INLINE)
_OPEN, _CLOSE = "<think>", "</think>"
Part = Literal["reasoning", "content"]
_TAGS = re.compile(r"(?:</?[\w:-]+>\s*)+")


def inline(message: Message) -> str:
    """Content with the reasoning before it, as models trained without a key of its own write it."""
    if not message.reasoning:
        return message.content
    return f"{_OPEN}\n{message.reasoning}\n{_CLOSE}\n\n{message.content}"


def apart(message: Message) -> Message:
    """The message with a thought that stands at the head of its content moved to `reasoning`."""
    if message.role != "assistant" or message.reasoning or _CLOSE not in message.content:
        return message
    reasoning, content = _tagged(message.content, "\n")
    return replace(message, reasoning=reasoning, content=content) if reasoning else message


def _tagged(text: str, space: str | None = None) -> tuple[str, str]:
    """(reasoning, answer) of a reply that begins with <think>; one that never ends it has no answer."""
    if not text.lstrip().startswith(_OPEN):
        return "", text
    thought, closed, answer = text.lstrip().removeprefix(_OPEN).partition(_CLOSE)
    return thought.strip(space), answer.lstrip(space) if closed else ""


# How models of other families mark a thought, where no template of theirs is at hand to learn it from.
_ELSEWHERE = (
    (_OPEN, _CLOSE), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"), ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)  # fmt: skip


def answer(text: str) -> str:
    """A reply that was made elsewhere without the thought at its head, "" where that never ends.

    Its first mark may be missing: then the generation prompt had it.
    """
    for opening, close in _ELSEWHERE:
        thought, closed, rest = text.partition(close)
        if text.lstrip().startswith(opening) or (closed and opening not in thought):
            return rest.strip()
    return text


def left_open(prompt: str) -> str:
    """How to end the thought that a generation prompt's last tags begin; "" where they begin none."""
    opened: list[str] = []
    for slash, tag in re.findall(r"<(/?)([\w:-]+)>", prompt):
        if not slash:
            opened.append(tag)
        elif tag in opened:
            opened.remove(tag)
    return f"\n</{opened[-1]}>\n\n" if opened else ""


def are_tags(text: str) -> bool:
    """Whether text is nothing but tags, such as <think> or <think></think>."""
    return _TAGS.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a template puts around the parts of a reply, from the generation prompt to the stop token:

        plain + content + end                                   without reasoning
        open + reasoning + close + plain + content + end        with it

    `open` is "" where the generation prompt has begun the thought. `close` is "" where the template has no place for
    one. A template that also writes an empty thought has an empty `plain`.
    """

    plain: str
    end: str
    open: str = ""
    close: str = ""

    @classmethod
    def of(cls, plain: str, end: str, opening: str, middle: str) -> ReplyForm:
        """From the texts before an answer (`plain`), before a thought and between thought and answer."""
        if plain == opening + middle:  # an empty thought
            return cls("", end, opening, middle)
        return cls(plain, end, opening, middle.removesuffix(plain))

    def read(self, text: str) -> tuple[str, str]:
        """(reasoning, the rest) of a reply's text without its stop token. A thought that never ends has no answer."""
        reasoning, rest = self._thought(text) if self.close else _tagged(text)
        return reasoning, rest.removeprefix(self.plain).removesuffix(self.end)

    def _thought(self, text: str) -> tuple[str, str]:
        begin = self._begin(text)
        if begin is None:
            return _tagged(text)
        end = text.find(self.close, begin)
        if end >= 0:
            return text[begin:end], text[end + len(self.close) :]
        mark = self.close.strip()  # what models write differs from their template in white space
        end = text.find(mark, begin)
        if end < 0:
            return text[begin:].strip(), ""
        return text[begin:end].strip(), text[end + len(mark) :].lstrip()

    def _begin(self, text: str) -> int | None:
        """Where the thought begins, after its mark; None where the reply has none."""
        if text.startswith(self.open):
            return len(self.open)
        mark = self.open.strip()
        return text.index(mark) + len(mark) if mark and text.lstrip().startswith(mark) else None

    @property
    def thought_end(self) -> str:
        """The mark that ends a thought which the generation prompt has begun; "" where it begins none."""
        return self.close.strip() if not self.open else ""


class ReplyStream:
    """What `ReplyForm.read` says of a reply, of one that still comes: parts that belong to reasoning and to content.

    All parts of a kind together are what `read` gives, but for white space around the thought, and where a thought
    holds the mark of its own end: the first one ends it. What may be the beginning of a mark is held back until it is
    known.
    """

    def __init__(self, form: ReplyForm) -> None:
        self._marks = [(_OPEN, _CLOSE)]  # how a thought begins and ends
        if form.close:
            self._marks.insert(0, (form.open.strip(), form.close.strip()))
        self._plain, self._end = form.plain, form.end
        self._text = ""  # what has come and was not given
        self._close = ""
        self.kind: Part | None = None  # of what comes now; None: not known yet
        self._fresh = False  # white space is passed over
        self._push_begin()

    def push(self, text: str) -> list[tuple[Part, str]]:
        """What is known now: (kind, text) in order."""
        self._text += text
        given: list[tuple[Part, str]] = []
        if self.kind is None:
            self._push_begin()
        if self.kind == "reasoning":
            given += self._thought()
        if self.kind == "content":
            given += self._content()
        return given

    def flush(self) -> list[tuple[Part, str]]:
        """What was held back, when nothing follows."""
        if self.kind == "reasoning":
            return self._given("reasoning", self._text.rstrip())
        self.kind = "content"
        return self._given("content", self._text.removeprefix(self._plain).removesuffix(self._end))

    def _push_begin(self) -> None:
        start = self._text.lstrip()
        for mark, close in self._marks:
            if start.startswith(mark):
                self.kind, self._close, self._fresh, self._text = "reasoning", close, True, start[len(mark) :]
                return
        if start and not any(mark.startswith(start) for mark, _ in self._marks):
            self.kind = "content"

    def _thought(self) -> list[tuple[Part, str]]:
        thought, closed, rest = self._text.partition(self._close)
        if closed:
            self._text = ""
            given = self._given("reasoning", thought.rstrip())
            self.kind, self._fresh, self._text = "content", True, rest
            return given
        known = self._text[: len(self._text) - _overlap(self._text, self._close)].rstrip()
        self._text = self._text[len(known) :]
        return self._given("reasoning", known)

    def _content(self) -> list[tuple[Part, str]]:
        text = self._text.lstrip() if self._fresh else self._text
        if self._plain:
            if text != self._plain and self._plain.startswith(text):
                return []
            text, self._plain = text.removeprefix(self._plain), ""
        keep = len(self._end) if self._end and text.endswith(self._end) else _overlap(text, self._end)
        self._text = text[len(text) - keep :]
        return self._given("content", text[: len(text) - keep])

    def _given(self, kind: Part, text: str) -> list[tuple[Part, str]]:
        if self._fresh:
            text = text.lstrip()
            self._fresh = not text
        return [(kind, text)] if text else []


def _overlap(text: str, mark: str) -> int:
    """Characters at the end of `text` that are a beginning of `mark`, but not all of it."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
