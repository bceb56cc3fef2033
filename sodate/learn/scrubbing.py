"""Personal data taken out of all text before it comes to the disk.

A project's own words go first, then what the data desk finds. The same person or number has the same pseudonym within
an exchange, and nobody keeps what it stood for.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sodate.core import variants
from sodate.data import mask, mask_key, pii

Scrub = Callable[[Sequence[str]], list[str]]  # the texts of one exchange in, the same without personal data out
WORD = "[word]"  # what stands where one of the project's own words stood
LONGEST = 400_000  # characters of one exchange; a longer one is not kept
_SHORT = 3  # letters and digits, up to which a word stands by itself: Ann is not in annual
_REMEMBERED = 2000  # texts that nothing was found in, so that a system prompt is not read again for every exchange
# Escapes of JSON within a text would hide what stands there; those of quotes and control characters have to stay.
_ESCAPE = re.compile(r"\\u(?!00[01][0-9a-f]|0022|005c|007f|d[89a-f])([0-9a-f]{4})", re.IGNORECASE)


def scrubber(words: Sequence[str]) -> Scrub:
    """What takes personal data and these words out. Width, case and variants of letters do not matter."""
    own = _pattern(words)
    clean: OrderedDict[str, None] = OrderedDict()

    def scrub(texts: Sequence[str]) -> list[str]:
        spelt = [_without(own, _ESCAPE.sub(_spelt, text)) for text in texts]
        new = [text for text in spelt if text not in clean]
        masked, named = _masked(new)
        if any(name in text for text in spelt if text in clean for name in named):
            masked, _ = _masked(spelt)
        for before, after in masked.items():
            if before == after:
                clean[before] = None
        while len(clean) > _REMEMBERED:
            clean.popitem(last=False)
        return [masked.get(text, text) for text in spelt]

    return scrub


def document_scrubber(words: Sequence[str]) -> Callable[[Any], Any]:
    """What takes personal data and these words out of a JSON value as a wire has it: a reply, with what was asked.

    Identifiers stay: by them calls find their results. Pseudonyms that stand there already mean somebody else.
    """
    own = _pattern(words)

    def scrub(value: Any) -> Any:
        spelt = [(label, _without(own, _ESCAPE.sub(_spelt, text))) for label, text in _texts(value, "")]
        taken = frozenset(one for _, text in spelt for one in mask_key.pseudonyms_in(text))
        clean, _, _ = mask.mask_cells(spelt, mask.Pseudonyms(avoid=taken))
        return _with(value, iter(clean))

    return scrub


# What a program wrote under these is no text of a person.
_IDENTIFIERS = frozenset(
    ("id", "type", "object", "role", "status", "call_id", "tool_call_id", "file_id", "vector_store_id", "phase")
)
_IDENTIFIER = re.compile(r"[A-Za-z]+[A-Za-z0-9_.-]*")


def _identifies(key: str, item: Any) -> bool:
    return key in _IDENTIFIERS and isinstance(item, str) and _IDENTIFIER.fullmatch(item) is not None


def _texts(value: Any, label: str) -> Iterator[tuple[str, str]]:
    """Every text within, with the key it stands under."""
    if isinstance(value, str):
        yield label, value
    elif isinstance(value, dict):
        for key, item in value.items():
            if not _identifies(key, item):
                yield from _texts(item, mask.label_of(key, value))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, label)


def _with(value: Any, clean: Iterator[Any]) -> Any:
    """The value with the next of `clean` for each of its `_texts`."""
    if isinstance(value, str):
        return next(clean)
    if isinstance(value, dict):
        return {key: item if _identifies(key, item) else _with(item, clean) for key, item in value.items()}
    return [_with(item, clean) for item in value] if isinstance(value, list) else value


def _masked(texts: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What becomes of each text, and who is named in one of them."""
    names = mask.Pseudonyms()
    done, _, _ = mask.mask_cells([("", text) for text in texts], names)
    named = [names.known[pseudonym] for kind, pseudonym in names.kinds() if kind == "name"]
    return dict(zip(texts, done, strict=True)), named


def _spelt(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16))


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
