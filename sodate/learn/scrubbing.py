"""Personal data taken out of all text before it comes to the disk.

A project's own words go first, then what the data desk finds. The same person or number has the same pseudonym within
an exchange, and nobody keeps what it stood for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sodate.core import variants
from sodate.data import mask, pii

Scrub = Callable[[Any], Any]  # a JSON value in, the same without personal data out
WORD = "[word]"  # what stands where one of the project's own words stood
LONGEST = 400_000  # characters of one exchange; a longer one is not kept
_SHORT = 3  # letters and digits, up to which a word stands by itself: Ann is not in annual
# Escapes of JSON within a text would hide what stands there; those of quotes and control characters have to stay.
_ESCAPE = re.compile(r"\\u(?!00[01][0-9a-f]|0022|005c|007f|d[89a-f])([0-9a-f]{4})", re.IGNORECASE)


def scrubber(words: Sequence[str]) -> Scrub:
    """What takes personal data and these words out. Width, case and variants of letters do not matter."""
    own = _pattern(words)

    def scrub(value: Any) -> Any:
        return mask.mask_values(_each(value, lambda text: _without(own, _ESCAPE.sub(_spelt, text)))).value

    return scrub


def _spelt(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _each(inner, change) for key, inner in value.items()}
    return [_each(inner, change) for inner in value] if isinstance(value, list | tuple) else value


def _pattern(words: Sequence[str]) -> re.Pattern[str] | None:
    """The words as one pattern, the longest first."""
    folded = sorted({_folded(word) for word in words}, key=lambda word: (-len(word), word))
    if not folded:
        return None
    short = r"(?<![0-9a-z]){}(?![0-9a-z])"
    alone = (word.isascii() and word.isalnum() and len(word) <= _SHORT for word in folded)
    parts = [short.format(word) if one else re.escape(word) for word, one in zip(folded, alone, strict=True)]
    return re.compile("|".join(parts))


def _without(own: re.Pattern[str] | None, text: str) -> str:
    if own is None:
        return text
    plain, places = variants.composed(text) or (text, None)
    folded = _folded(plain)
    if len(folded) != len(plain):  # a letter became two: no place in one is that place in the other
        return own.sub(WORD, folded) if own.search(folded) else text
    for match in reversed(list(own.finditer(folded))):
        start, end = match.span() if places is None else (places[match.start()], places[match.end()])
        text = f"{text[:start]}{WORD}{text[end:]}"
    return text


def _folded(text: str) -> str:
    return variants.folded(pii.same_width(text)).casefold()
