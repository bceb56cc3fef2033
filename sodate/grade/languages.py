"""The language of a text by its letters, sentence by sentence: no model is asked.

Kana say Japanese, Hangul Korean, Cyrillic Russian, and so on. Kanji alone may be Japanese or Chinese, unless one is
written only there. Latin letters are English where its commonest words stand and not those of a neighbour; without any
such word they may be any language in that script. Code, addresses on the net and numbers are left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from sodate.core.text import tr
from sodate.grade.base import Case, Grade, Many
from sodate.grade.strings import clip

MAX_TEXT = 100_000
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar",
    "HEBREW": "he", "THAI": "th", "DEVANAGARI": "hi", "CJK": "han", "LATIN": "latin",
}  # fmt: skip
_WORDS = {
    "en": "the and is are of to in that it you for with this be on as have not your we can will please was",
    "de": "der die das und ist nicht ein eine ich sie wir mit für auf den von zu sich auch",
    "fr": "le la les des est et une un que pour dans vous nous avec sur pas ce je votre",
    "es": "el los las es y una un que para en con por su no usted del se como",
    "it": "il lo gli di che è e una un per con non sono del della si come",
    "pt": "o os as de que é e uma um para com não do da em você se",
}
LANGUAGES = ("ja", "zh", "ko", "ru", "el", "ar", "he", "th", "hi", *_WORDS)
_KNOWN = {name: frozenset(words.split()) for name, words in _WORDS.items()}
_CHINESE = frozenset("们这为说对给吗呢吧么让还过请谢您开关长东车马鱼鸟门问间见觉语课试认识读书电话买卖钱银铁络")
_ELSEWHERE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,190}", re.DOTALL)
_SENTENCE = re.compile(r"[^。！？!?\n]+?(?:[。！？!?\n]|\.(?=\s)|\Z)")


def possible(sentence: str) -> frozenset[str]:
    """The languages that a sentence may be in; empty where it has no letter."""
    counts: Counter[str] = Counter()
    for character in sentence:
        if character.isalpha():
            name = unicodedata.name(character, "").partition(" ")[0]
            counts[_SCRIPTS.get(name, name)] += 1
    if not counts:
        return frozenset()
    if counts["ja"]:
        # Names and terms in Latin letters are part of a Japanese sentence; a few kana in an English one are not.
        return frozenset(("ja",)) if 4 * (counts["ja"] + counts["han"]) >= counts["latin"] else _latin(sentence)
    if counts["han"]:
        if 4 * counts["han"] < counts["latin"]:
            return _latin(sentence)
        return frozenset(("zh",)) if _CHINESE & set(sentence) else frozenset(("ja", "zh"))
    most = counts.most_common(1)[0][0]
    return _latin(sentence) if most == "latin" else frozenset((most,))


def _latin(sentence: str) -> frozenset[str]:
    words = re.findall(r"[^\W\d_]+", sentence.casefold())
    found = Counter(name for word in words for name, known in _KNOWN.items() if word in known)
    if not found:
        return frozenset(_WORDS)
    most = max(found.values())
    return frozenset(name for name, count in found.items() if count == most)


def sentences(text: str) -> list[str]:
    """The sentences of a text in which there is a letter, without code and addresses."""
    plain = _ELSEWHERE.sub(" ", text[:MAX_TEXT])
    return [found[0].strip() for found in _SENTENCE.finditer(plain) if any(map(str.isalpha, found[0]))]


def language(wanted: str) -> Many:
    """Grades by the share of letters that stand in sentences of the `wanted` language; "" is that of the question."""

    def one(case: Case) -> Grade:
        asked = wanted or _of(next((m.content for m in reversed(case.prompt) if m.role == "user"), ""))
        found = sentences(case.reply)
        if not found:
            return Grade(0.0, tr("no letter in the reply", "返答に文字がない"))
        if not asked:
            return Grade(1.0, tr("the question has no language of its own", "質問の言語が決まらない"))
        other = [piece for piece in found if asked not in possible(piece)]
        if not other:
            return Grade(1.0, tr(f"all of it may be {asked}", f"すべて {asked} と読める"))
        share = 1 - sum(map(len, other)) / sum(map(len, found))
        names = "/".join(sorted(possible(other[0]))) or "?"
        return Grade(share, tr(f"not {asked} but {names}: “{clip(other[0])}”",
                               f"{asked} ではなく {names}:「{clip(other[0])}」"))  # fmt: skip

    def many(cases: Sequence[Case]) -> list[Grade]:
        return [one(case) for case in cases]

    return many


def _of(text: str) -> str:
    """The language of most sentences of a text; "" where they leave it open."""
    votes = Counter(name for piece in sentences(text) if len(found := possible(piece)) == 1 for name in found)
    if votes:
        return votes.most_common(1)[0][0]
    together = frozenset.intersection(*map(possible, sentences(text))) if sentences(text) else frozenset()
    return "en" if "en" in together else "ja" if "ja" in together else ""
