"""No text from data can forge a control token: a sentinel is put inside each one found, where encoding then cuts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# A Unicode noncharacter: never valid in interchanged text, so it can mark a cut without meaning anything.
CUT = "\ufdd0"

Guard = Callable[[str], tuple[str, list[str]]]
"""Text → (the text with CUT inside every control token, the control tokens found)."""

Piece = tuple[str, float]
"""Text that is encoded for itself, and the loss weight of its tokens."""


def is_markup(token: str) -> bool:
    """Whether a token looks like <think> or [INST] rather than like a word."""
    return len(token) > 2 and token[0] in "<[" and token[-1] in ">]"


def guard_for(tokens: Iterable[str]) -> Guard:
    """The guard against these control tokens."""
    longest_first = sorted({t for t in tokens if len(t) > 1}, key=len, reverse=True)
    first = tuple({t[0] for t in longest_first})
    pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def guard(text: str) -> tuple[str, list[str]]:
        if CUT in text:
            text = text.replace(CUT, "\ufffd")
        if pattern is None or not any(c in text for c in first):
            return text, []
        found: list[str] = []

        def cut(match: re.Match[str]) -> str:
            found.append(match[0])
            return match[0][0] + CUT + match[0][1:]

        # Breaking one token can leave another whole inside it, so repeat until none is left.
        while (broken := pattern.sub(cut, text)) != text:
            text = broken
        return text, found

    return guard


def guarded(value: Any, guard: Guard) -> Any:
    """A JSON value with every string in it guarded."""
    if isinstance(value, str):
        return guard(value)[0]
    if isinstance(value, Mapping):
        return {guard(k)[0] if isinstance(k, str) else k: guarded(v, guard) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [guarded(v, guard) for v in value]
    return value


def weighted(text: str, starts: list[int], spans: list[tuple[int, int, float]]) -> Iterator[Piece]:
    """`text` cut at `starts`, at both ends of each (start, end, weight) span and at sentinels; no piece is empty."""
    cuts = dict.fromkeys(starts, 0.0)
    for start, end, weight in spans:
        cuts[start] = weight
        cuts[end] = 0.0
    at, current = 0, 0.0
    for cut in (*sorted(cuts), len(text)):
        yield from ((piece, current) for piece in text[at:cut].split(CUT) if piece)
        current = cuts.get(cut, 0.0)
        at = cut
