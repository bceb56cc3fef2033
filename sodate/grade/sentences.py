"""The sentences of a Japanese reply, and whether each ends politely."""

from __future__ import annotations

import re

BULLET = re.compile(
    r"\s*(?:[-*・●○■□◆▪•※→>|]|(?:手順|ステップ|Step ?)?\d{1,3}[.)）．:：、]|[(（](?:\d{1,3}|[ア-ンA-Za-z])[)）]|"
    r"[A-Za-z][.)）．]\s|[①-⑳]|(?:手順|ステップ|Step ?)\d|#+\s)"
)
_ASIDE = re.compile(r"[（(［\[〔【][^（(［\[〔【）)］\]〕】]*[）)］\]〕】]")
# How a sentence ends that is not marked as one: as verbs, adjectives and final particles do.
_PREDICATE = re.compile(r"[うくぐすずつづぬふぶぷむゆるただいかねよ]$")
_POLITE = re.compile(
    r"(?:です|ます|ました|ません|でした|ましょう|でしょう|まして|ませ|ください|下さい)"
    r"(?:か|ね|よ|が|けれども|けれど|けど|から|ので|の){0,4}$"
)


def sentences(text: str) -> list[str]:
    """The sentences of a Japanese reply, without asides in brackets and whatever stands behind their last word.

    。！？ end a sentence. What a line says without such a mark is a sentence only if it ends like one (ます, した,
    ない, よ): a name, a heading, a bullet or the first half of a wrapped sentence is none.
    """
    result: list[str] = []
    for line in text.splitlines():
        *closed, rest = re.split(r"[。！？!?]+", line)
        result += map(_ending, closed)
        ending = _ending(rest)
        label = not closed and BULLET.match(line)
        if not label and (_PREDICATE.search(ending) or _POLITE.search(ending)):
            result.append(ending)
    return [sentence for sentence in result if sentence]


def _ending(piece: str) -> str:
    """`piece` up to its last word: "1,000円です（税込）😊" is "1,000円です". What is all in brackets stays."""
    bare = piece
    for _ in range(3):  # brackets in brackets
        bare = _ASIDE.sub("", bare)
    return (_to_last_word(bare) or _to_last_word(piece)).strip()


def _to_last_word(text: str) -> str:
    """Without the closing brackets, marks, emoji and other symbols at its end."""
    return text[: max((i for i, character in enumerate(text, 1) if character.isalnum()), default=0)]


def polite(sentence: str) -> bool:
    """Whether a sentence, as `sentences` gives it, ends in です・ます or a request."""
    return _POLITE.search(sentence) is not None


def polite_ratio(text: str) -> float | None:
    """The share of sentences that end in です・ます or a request; None when there is no sentence."""
    found_ = sentences(text)
    return sum(map(polite, found_)) / len(found_) if found_ else None
