"""What the used rows look like: lengths, turns, labels, languages. A few bytes a row, whatever the row's size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sodate.core.types import Conversation, Example, Judgement, Message, Preference, Ranking
from sodate.data.ondisk import Column

LABEL_CHARS = 64  # a label is at most this long …
MAX_LABELS = 200  # … and there are at most so many different ones
_KANA = re.compile(r"[ぁ-ゖァ-ヺｦ-ﾟ]")
_LATIN = re.compile(r"[A-Za-z]")
_HAN = re.compile(r"[一-鿿]")


def language_of(text: str) -> str:
    """`ja`, `en` or `other`, a cheap guess: kana means Japanese, Latin letters without kana or kanji mean English."""
    if text.isascii():
        return "en" if _LATIN.search(text) else "other"
    if _KANA.search(text):
        return "ja"
    return "other" if _HAN.search(text) or not _LATIN.search(text) else "en"


def quantiles(values: ArrayLike) -> dict[str, float]:
    """min, median, p95 (linear interpolation), max and total of a non-empty sequence."""
    numbers = np.asarray(values, dtype=np.int64)
    middle, high = np.percentile(numbers, [50, 95])
    return {
        "min": int(numbers.min()),
        "median": round(float(middle), 1),
        "p95": round(float(high), 1),
        "max": int(numbers.max()),
        "total": int(numbers.sum()),
    }


class Stats:
    """Collects one used example at a time; `summary()` is the JSON value of the ledger's `stats`."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._chars = Column("I")
        self._reply_chars = Column("I")
        self._tokens = Column("I")
        self._supervised = Column("I")
        self._turns: Counter[int] = Counter()
        self._languages: Counter[str] = Counter()
        self._labels: Counter[str] | None = Counter()
        self._replies = 0
        self._systems: set[int] = set()
        self._verdicts: Counter[str] = Counter()  # what people said in rankings and judgements

    def add(self, example: Example, messages: Sequence[Message], text: str, tokens: tuple[int, int] | None) -> None:
        """One used example: all its messages, their joined text, and (tokens, supervised tokens) where known."""
        self._kinds[type(example).__name__.lower()] += 1
        if isinstance(example, Ranking):
            found = {"pairs": len(example.pairs()), "ties": example.ties, "all_bad": int(example.all_bad)}
            self._verdicts.update(found | {"unranked_replies": example.ranks.count(None)})
        elif isinstance(example, Judgement):
            self._verdicts["desirable" if example.desirable else "undesirable"] += 1
        self._chars.append(len(text))
        self._turns[sum(message.role == "user" for message in messages)] += 1
        self._languages[language_of(text)] += 1
        if messages[0].role == "system":
            self._systems.add(hash(messages[0].content))
        if tokens:
            self._tokens.append(tokens[0])
            self._supervised.append(tokens[1])
        reply = _reply(example)
        if reply is not None:
            self._reply_chars.append(len(reply))
            self._count_label(reply.strip())

    def _count_label(self, reply: str) -> None:
        self._replies += 1
        if self._labels is not None:
            self._labels[reply] += 1
            if len(reply) > LABEL_CHARS or "\n" in reply or len(self._labels) > MAX_LABELS:
                self._labels = None

    def summary(self) -> dict[str, Any]:
        rows = len(self._chars)
        summary: dict[str, Any] = {"kinds": dict(self._kinds)}
        if self._verdicts:
            summary["verdicts"] = dict(self._verdicts)
        if rows:
            summary["chars"] = quantiles(self._chars.numpy())
            if self._reply_chars:
                summary["reply_chars"] = quantiles(self._reply_chars.numpy())
            if self._tokens:
                summary["tokens"] = {
                    **quantiles(self._tokens.numpy()),
                    "supervised": int(self._supervised.numpy().sum(dtype=np.int64)),
                }
            summary["user_turns"] = {str(turns): count for turns, count in sorted(self._turns.items())}
            summary["system_prompts"] = len(self._systems)
            summary["languages"] = {name: round(count / rows, 4) for name, count in self._languages.most_common()}
            # Few different short replies, each seen several times: a classification job.
            if self._labels and len(self._labels) > 1 and self._replies >= 3 * len(self._labels):
                summary["labels"] = dict(self._labels.most_common())
        return summary


def _reply(example: Example) -> str | None:
    if isinstance(example, Conversation):
        return example.reply.content if example.reply else None
    if isinstance(example, Judgement):
        return example.reply[-1].content
    return example.chosen[-1].content if isinstance(example, Preference) else None
