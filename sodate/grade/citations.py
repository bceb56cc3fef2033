"""Whether a reply keeps to the passages that stand in its prompt (`sodate/core/quoted.py`).

A sentence speaks of the passages that it names, such as [1]; one that names none, of all of them; where marks close
each of its clauses (8日で[1]、500円です[2]), each clause of its own. In them have to stand its quotations (「…」 or
"…"), its numbers and dates, and its names in katakana or Latin letters; a number or name of the question or of a
heading counts as given. Names in kanji are not told from other words, and what a sentence means is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sodate.core import quoted
from sodate.core.text import Sentence, tr
from sodate.grade import equality, numbers
from sodate.grade.answers import abstained
from sodate.grade.base import Case, Grade
from sodate.grade.normalise import fold
from sodate.grade.strings import clip

_SENTENCE = re.compile(r"(?:[^。！？!?.\n]|\.(?=\S))+[。！？!?.\n]*" + rf"(?:\s{{0,4}}{quoted.MARK.pattern})*")
_CLAUSE = re.compile(r"(?<=[\]］])(?=[、，,;；])")
# The numbers of a list are nobody's figures. They are looked for within their line: with the ends of lines, every empty
# line would begin a search through all of them.
_BLANK = r"[^\S\n]*"
_ITEM = re.compile(rf"(?m)^{_BLANK}(?:\d{{1,2}}[.．)）](?!\d)|[①-⑳]){_BLANK}")
_QUOTATION = re.compile(r"「([^「」]{4,})」|『([^『』]{4,})』|“([^“”]{4,})”|\"([^\"\n]{4,})\"")
_NAME = re.compile(r"[ァ-ヶー]{3,}|(?<![A-Za-z])[A-Z][A-Za-z]{2,}")
_BEGIN = re.compile(r"\W*[A-Z]")


def citations(cases: Sequence[Case]) -> list[Grade]:
    """1 where every sentence is held by the passages, 0 with the first reason where one is not. A reply that says it
    does not know has nothing to cite. `parts`: the shares of marks, quotations, numbers and names that hold."""
    return [_grade(case) for case in cases]


def _grade(case: Case) -> Grade:
    asked = "\n".join(message.content for message in case.prompt if message.role == "user")
    passages = quoted.read(asked)
    reply = _ITEM.sub("", case.reply)
    marks = [number for number, _ in quoted.marks(reply)]
    if abstained(case.reply) and not marks:
        return Grade(1.0, tr("says that it does not know", "分からないと答えている"))
    if not passages:
        return Grade(0.0, tr("the prompt holds no passages", "プロンプトに資料がありません"))
    if not marks:
        return Grade(0.0, tr("names no passage", "資料の番号がありません"), {"marks": 0.0})
    if not re.search(r"\w", quoted.MARK.sub("", reply)):
        return Grade(0.0, tr("says nothing beside its marks", "番号のほかに何も書かれていません"))
    checked: dict[str, list[Sentence | None]] = {"marks": [], "quotations": [], "numbers": [], "names": []}
    for mark in marks:
        wrong = tr(f"there is no passage [{mark}]", f"資料 [{mark}] はありません")
        checked["marks"].append(None if mark in passages else wrong)
    question, known = quoted.after(asked), dict[tuple[int, ...], _Held]()
    headings = quoted.headings(asked)
    for sentence in _SENTENCE.findall(reply):
        whole = tuple(number for number, _ in quoted.marks(sentence)) or tuple(passages)
        clauses = _CLAUSE.split(sentence)
        for clause in clauses if all(quoted.MARK.search(one) for one in clauses) else [sentence]:
            named = tuple(number for number, _ in quoted.marks(clause)) or whole
            if named not in known:
                there = [mark for mark in named if mark in passages]
                beside = "\n".join([question, *(headings[mark] for mark in there)])
                known[named] = _Held.by([passages[mark] for mark in there], beside)
            _check(quoted.MARK.sub("", clause), known[named], checked)
    wrong_ones = [one for found in checked.values() for one in found if one is not None]
    parts = {
        part: sum(one is None for one in found) / len(found) for part, found in checked.items() if found
    }  # fmt: skip
    if wrong_ones:
        return Grade(0.0, wrong_ones[0], parts)
    return Grade(1.0, tr("every sentence keeps to its passages", "どの文も資料に基づいている"), parts)


@dataclass(frozen=True, slots=True)
class _Held:
    """What sentences are held against: the passages' text without white space, and their numbers and all words with
    those of what stands `beside` them, question and headings. Made once for all that names the same passages."""

    text: str
    figures: list[numbers.Number]
    words: str

    @classmethod
    def by(cls, passages: Sequence[str], beside: str) -> _Held:
        held = "\n".join(passages)
        found = [one for text in (held, beside) for way in (text, _dated(text)) for one in _figures(way)]
        return cls("".join(fold(held).split()), found, fold(held) + fold(beside))


def _dated(text: str) -> str:
    """With dates in one form: 令和8年4月1日 and 2026/4/1 are 2026-04-01."""
    return equality.folded(text, ("width", "era", "date"))


_SPELT = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ENGLISH = re.compile(
    rf"\b({'|'.join(_SPELT)})(?= (?:business |working )?"
    r"(?:days?|weeks?|months?|years?|hours?|minutes?|percent|dollars?|yen|times?|people|persons?)\b)",
    re.IGNORECASE,
)


def _figures(text: str) -> list[numbers.Number]:
    """Its numbers, those spelt out in English before a unit, too."""
    spelt = _ENGLISH.sub(lambda found: str(_SPELT.index(found[0].lower()) + 2), text)
    return list(numbers.find(numbers.normalise(spelt)))


def _check(sentence: str, held: _Held, checked: dict[str, list[Sentence | None]]) -> None:
    """Notes for each thing the sentence takes from its passages None, or why it is not in them."""
    for groups in _QUOTATION.findall(sentence):
        quotation = next(filter(None, groups))
        wrong = tr(f"not in the passages: “{clip(quotation)}”", f"資料にない引用:「{clip(quotation)}」")
        checked["quotations"].append(None if "".join(fold(quotation).split()) in held.text else wrong)
    ways = [
        [(one.text, any(one.same(other) for other in held.figures)) for one in _figures(way) if not one.weak]
        for way in dict.fromkeys((sentence, _dated(sentence)))
    ]
    for text, stands in max(ways, key=lambda way: sum(stands for _, stands in way) / max(1, len(way))):
        wrong = tr(f"not in the passages: {text}", f"資料にない数: {text}")
        checked["numbers"].append(None if stands else wrong)
    first = _BEGIN.match(sentence)
    for match in _NAME.finditer(sentence):
        if first and match.start() < first.end():
            continue  # the first word of an English sentence
        wrong = tr(f"not in the passages: {clip(match[0])}", f"資料にない名前: {clip(match[0])}")
        checked["names"].append(None if fold(match[0]) in held.words else wrong)
