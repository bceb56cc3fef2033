"""Whether a reply keeps to the passages that stand in its prompt (`sodate/core/quoted.py`).

A sentence speaks of the passages that it names, such as [1]; one that names none, of all of them. In them have to stand
its quotations (「…」 or "…"), its numbers, and its names in katakana or Latin letters; a number or name of the question
counts as given. Names in kanji are not told from other words, and what a sentence means is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sodate.core import quoted
from sodate.core.text import Sentence, tr
from sodate.grade import numbers
from sodate.grade.answers import abstained
from sodate.grade.base import Case, Grade
from sodate.grade.normalise import fold
from sodate.grade.strings import clip

_MARK = re.compile(r"[\[［](\d{1,3})[\]］]")
_SENTENCE = re.compile(r"(?:[^。！？!?.\n]|\.(?=\S))+[。！？!?.\n]*(?:\s{0,4}[\[［]\d{1,3}[\]］])*")
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
    marks = [int(mark) for mark in _MARK.findall(case.reply)]
    if abstained(case.reply) and not marks:
        return Grade(1.0, tr("says that it does not know", "分からないと答えている"))
    if not passages:
        return Grade(0.0, tr("the prompt holds no passages", "プロンプトに資料がありません"))
    if not marks:
        return Grade(0.0, tr("names no passage", "資料の番号がありません"), {"marks": 0.0})
    checked: dict[str, list[Sentence | None]] = {"marks": [], "quotations": [], "numbers": [], "names": []}
    for mark in marks:
        wrong = tr(f"there is no passage [{mark}]", f"資料 [{mark}] はありません")
        checked["marks"].append(None if mark in passages else wrong)
    question, known = quoted.after(asked), dict[tuple[int, ...], _Held]()
    for sentence in _SENTENCE.findall(case.reply):
        named = tuple(int(mark) for mark in _MARK.findall(sentence)) or tuple(passages)
        if named not in known:
            known[named] = _Held.by([passages[mark] for mark in named if mark in passages], question)
        _check(_MARK.sub("", sentence), known[named], checked)
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
    those of the question. Made once for all sentences that name the same passages."""

    text: str
    figures: list[numbers.Number]
    words: str

    @classmethod
    def by(cls, passages: Sequence[str], question: str) -> _Held:
        held = "\n".join(passages)
        found = [one for text in (held, question) for one in numbers.find(numbers.normalise(text))]
        return cls("".join(fold(held).split()), found, fold(held) + fold(question))


def _check(sentence: str, held: _Held, checked: dict[str, list[Sentence | None]]) -> None:
    """Notes for each thing the sentence takes from its passages None, or why it is not in them."""
    for groups in _QUOTATION.findall(sentence):
        quotation = next(filter(None, groups))
        wrong = tr(f"not in the passages: “{clip(quotation)}”", f"資料にない引用:「{clip(quotation)}」")
        checked["quotations"].append(None if "".join(fold(quotation).split()) in held.text else wrong)
    for number in numbers.find(numbers.normalise(sentence)):
        if not number.weak:
            wrong = tr(f"not in the passages: {number.text}", f"資料にない数: {number.text}")
            checked["numbers"].append(None if any(number.same(one) for one in held.figures) else wrong)
    first = _BEGIN.match(sentence)
    for match in _NAME.finditer(sentence):
        if first and match.start() < first.end():
            continue  # the first word of an English sentence
        wrong = tr(f"not in the passages: {clip(match[0])}", f"資料にない名前: {clip(match[0])}")
        checked["names"].append(None if fold(match[0]) in held.words else wrong)
