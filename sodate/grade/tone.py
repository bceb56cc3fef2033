"""The tone of a Japanese reply, sentence by sentence: what is wrong, and what to write instead.

    tone_ja                      です・ます throughout, and the mistakes of `sodate/grade/keigo.py`
    tone_ja:house.yaml           the same by a house's rules:

    style: polite                polite (です・ます), plain (だ・である), or consistent: either, but one of them
    checks: [double, baito, …]   default: all of CHECKS in keigo.py
    sasete: 1                    how often させていただく may stand in a reply
    words: {お問い合わせ: [お問合せ, お問い合せ]}   how the house writes a word, and how not
    usual: true                  whether words of _USUAL may be written in one way only within a reply
    allow: [お客様各位様]          never reported

The score is the share of sentences without a finding.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sodate.core.complaints import in_file
from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr
from sodate.core.yaml_files import yaml_value
from sodate.grade import keigo
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.keigo import Mistake
from sodate.grade.sentences import BULLET, polite, sentences

SHOWN = 5  # findings in a reason
MAX_TEXT = 50_000  # characters of a reply that are read

# One word, written in several ways; in one reply one of them.
_USUAL: Mapping[str, tuple[str, ...]] = {
    "お問い合わせ": ("お問合せ", "お問い合せ", "お問合わせ", "お問合"),
    "申し込み": ("申込み", "申しこみ"),
    "打ち合わせ": ("打合せ", "打ち合せ", "打合わせ"),
    "見積もり": ("見積り", "見つもり"),
    "払い戻し": ("払戻し", "払戻"),
    "取り扱い": ("取扱い",),
    "受け付け": ("受付け",),
    "引き落とし": ("引落し", "引き落し"),
    "振り込み": ("振込み",),
    "ください": ("下さい",),
    "いただ": ("頂",),
    "いたし": ("致し",),
    "よろしく": ("宜しく",),
    "ございま": ("御座いま",),
    "できま": ("出来ま",),
    "サーバー": ("サーバ",),
    "ユーザー": ("ユーザ",),
    "コンピューター": ("コンピュータ",),
    "プリンター": ("プリンタ",),
    "フォルダー": ("フォルダ",),
    "ブラウザー": ("ブラウザ",),
    "メーカー": ("メーカ",),
    "アダプター": ("アダプタ",),
    "メンテナンス": ("メインテナンス",),
}


def _known(checks: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [check for check in checks if check not in keigo.CHECKS]:
        known = ", ".join(keigo.CHECKS)
        raise ValueError(tr(f"there is no check {unknown[0]} (there are: {known})",
                            f"{unknown[0]} という項目はありません (使えるもの: {known})"))  # fmt: skip
    return checks


class House(BaseModel):
    """How a house writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    style: Literal["polite", "plain", "consistent"] = "polite"
    checks: Annotated[tuple[str, ...], AfterValidator(_known)] = tuple(keigo.CHECKS)
    sasete: int = Field(default=1, ge=0)
    words: Mapping[str, tuple[Annotated[str, Field(min_length=1)], ...]] = Field(default_factory=dict)
    usual: bool = True
    allow: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Finding(BaseModel):
    """What is wrong in a sentence (`number` from 0)."""

    model_config = ConfigDict(frozen=True)
    number: int
    sentence: str
    check: str
    found: str
    instead: str


_PLAIN_END = re.compile(
    r"(?:[しみべれてけめえせじきちりにびげねで]ろ|だ|だった|であった|(?<!よろし)く|(?<!ありがと)(?<!おはよ)(?<!おめでと)う|[ぐすつぬふぶむゆる]|[かしたなれけねっえい]た|ない|たい|しい|べき|よい|良い|"
    r"多い|高い|安い)$"
)
_TO_POLITE = tuple((re.compile(f"(?:{end})$"), polite_) for end, polite_ in (
    ("ではない|じゃない", "ではありません"), ("であった|だった", "でした"), ("であろう|だろう", "でしょう"),
    ("である|だ", "です"),
    ("なかった", "ませんでした"), ("する", "します"), ("した", "しました"), ("しない", "しません"),
    ("できない", "できません"), ("できる", "できます"), ("ある", "あります"), ("いる", "います"), ("なる", "なります"),
    ("なった", "なりました"), ("(?<=[えけせてねべめれげ])る", "ます"), ("(?<=[しいたな])い", "いです"),
))  # fmt: skip
_TO_PLAIN = tuple((re.compile(f"(?:{end})$"), plain) for end, plain in (
    ("でした", "だった"), ("(?<=い)です", ""), ("です", "だ"), ("でしょう", "だろう"), ("しました", "した"),
    ("します", "する"),     ("あります", "ある"), ("できます", "できる"), ("なります", "なる"),
))  # fmt: skip
_SASETE = re.compile(
    r"(?:(?P<stem>[一-龠々ァ-ヶー]{1,8})?させ|(?<=[かがたなばまらわ])(?<!知ら)(?<!合わ)(?<!あわ)(?<!済ま)(?<!聞か)せ)"
    r"て(?:いただ|頂)(?P<end>きます|きました|き|いて|いた|く|け)"
)  # in 知らせて or 見せていただく somebody else does it
_HUMBLE = {"きます": "いたします", "きました": "いたしました", "き": "いたし", "いて": "いたして", "いた": "いたした",
           "く": "する", "け": "でき"}  # fmt: skip
_QUOTED = re.compile(r"「[^「」]*」|『[^『』]*』")
_SENTENCE = re.compile(rf"(?:{_QUOTED.pattern}|[^。！？!?\n])+[。！？!?]*")
_GOES_ON = re.compile(rf"[^\S\n]*\n(?!{BULLET.pattern}|\s*?(?:\n|\Z))")  # the next line is neither empty nor an item
_LABEL = re.compile(r"\s*[^、。:：\n]{1,15}[:：]")  # 返品: できない


def findings(text: str, house: House) -> list[Finding]:
    """What is wrong with a reply, in its order. What stands in 「」 is somebody else's and is left out."""
    matches = [found for found in _SENTENCE.finditer(text[:MAX_TEXT]) if found[0].strip()]
    pieces = [found[0].strip() for found in matches]
    whole = [
        found[0][-1] in "。！？!?" or not (_GOES_ON.match(text, found.end()) or _LABEL.match(found[0]))
        for found in matches
    ]
    bare = [_QUOTED.sub("「」", piece) for piece in pieces]
    spelling = list(_spelling(bare, house)) if "spelling" in house.checks else []
    mixing = _mixing(bare, whole, house) if "mixing" in house.checks else {}
    sasete = _sasete(bare, house.sasete) if "sasete" in house.checks else {}
    result = []
    for number, (piece, plain) in enumerate(zip(pieces, bare, strict=True)):
        found = [one for one in keigo.mistakes(plain) if one.check in house.checks]
        found += [one for at, one in spelling if at == number]
        found += [found_[number] for found_ in (mixing, sasete) if number in found_]
        result += [
            Finding(number=number, sentence=piece, check=one.check, found=one.found, instead=one.instead)
            for one in found
            if not any(word in one.found or (one.found in word and word in plain) for word in house.allow)
        ]
    return result


def _mixing(pieces: Sequence[str], whole: Sequence[bool], house: House) -> dict[int, Mistake]:
    """Sentences whose end is of the other style than wanted, or than most, with the end in the right one. What is no
    `whole` sentence, as the first half of a wrapped line (ご注文が確定した), says nothing of a plain style."""
    ends: dict[int, tuple[str, bool]] = {}
    for number, piece in enumerate(pieces):
        for ending in [] if BULLET.match(piece) else sentences(piece)[-1:]:  # items of a list have a style of their own
            if polite(ending):
                ends[number] = ending, True
            elif whole[number] and _PLAIN_END.search(ending):
                ends[number] = ending, False
    if not ends:
        return {}
    wanted = house.style == "polite"
    if house.style == "consistent":
        wanted = 2 * sum(is_polite for _, is_polite in ends.values()) >= len(ends)
    changes = _TO_POLITE if wanted else _TO_PLAIN
    result = {}
    for number, (ending, is_polite) in ends.items():
        if is_polite != wanted:
            right = next((pattern.sub(to, ending) for pattern, to in changes if pattern.search(ending)), "")
            general = "です・ます" if wanted else "だ・である"
            result[number] = Mistake("mixing", ending[-12:], right[-14:] or general)
    return result


def _sasete(pieces: Sequence[str], most: int) -> dict[int, Mistake]:
    """Sentences in which させていただく stands once more than it may."""
    count, result = 0, {}
    for number, piece in enumerate(pieces):
        for found in _SASETE.finditer(piece):
            count += 1
            if count > most and number not in result:
                humble = _HUMBLE[found["end"]]
                result[number] = Mistake("sasete", found[0], (found["stem"] or "…") + humble)
    return result


def _spelling(pieces: Sequence[str], house: House) -> Iterator[tuple[int, Mistake]]:
    for right, others in house.words.items():
        yield from _written(pieces, right, others)
    if not house.usual:
        return
    for right, others in _USUAL.items():
        if right in house.words:
            continue
        ways = [way for way in (right, *others) if any(_places(piece, way, (right, *others)) for piece in pieces)]
        if len(ways) > 1:  # in one reply in two ways
            kept = right if right in ways else ways[0]
            yield from _written(pieces, kept, [way for way in ways if way != kept])


def _written(pieces: Sequence[str], right: str, others: Sequence[str]) -> Iterator[tuple[int, Mistake]]:
    for number, piece in enumerate(pieces):
        for other in others:
            if _places(piece, other, (right, *others)):
                yield number, Mistake("spelling", other, right)


def _places(piece: str, way: str, ways: Sequence[str]) -> int:
    """How often `way` stands in `piece` on its own, not as part of a longer one (サーバ in サーバー)."""
    if way not in piece:  # which is so of nearly every word in nearly every sentence
        return 0
    return sum(found[0] == way for found in _longest(tuple(ways)).finditer(piece))


@functools.cache
def _longest(ways: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(one) for one in sorted(ways, key=len, reverse=True)))


def tone(house: House) -> GradeFunction:
    """The share of sentences without a finding. `parts`: of each check, the share of sentences that it lets pass."""

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        count = sum(bool(found[0].strip()) for found in _SENTENCE.finditer(reply[:MAX_TEXT]))
        if not count:
            return Grade(0.0, tr("no sentence", "文がない"))
        found = findings(reply, house)
        parts = {
            check: 1 - len({one.number for one in found if one.check == check}) / count for check in house.checks
        }  # fmt: skip
        if not found:
            return Grade(1.0, tr("nothing to mend in its tone", "文体と敬語に指摘なし"), parts)
        said = tr("; ", "、").join(
            tr(f"sentence {one.number + 1}: ", f"{one.number + 1} 文目 ")
            + keigo.CHECKS[one.check] + tr(f": {one.found} → {one.instead}", f": {one.found} → {one.instead}")
            for one in found[:SHOWN]
        )  # fmt: skip
        more = f" (+{len(found) - SHOWN})" if len(found) > SHOWN else ""
        return Grade(1 - len({one.number for one in found}) / count, said + more, parts)

    return grade


def read_house(given: Any, where: str, file: Path | None = None) -> House:
    """The rules of a house. UsageError names the key that is not understood."""
    try:
        return House.model_validate(given)
    except ValidationError as error:
        said = in_file(error.errors(), given)
        raise UsageError(
            tr(f"{where}: {en(said)}", f"{where}: {ja(said)}"),
            tr(f"Keys: {', '.join(House.model_fields)}.", f"使えるキー: {', '.join(House.model_fields)}"),
            code="bad_rules", param="grader", file=file,
        ) from None  # fmt: skip


def house_file(path: Path) -> House:
    """The same from a YAML file."""
    try:
        given = yaml_value(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            tr(f"{path} cannot be read: {error}.", f"{path} を読めません: {error}"),
            code="file_unreadable", param="grader", file=path,
        ) from None  # fmt: skip
    return read_house(given, str(path), path)
