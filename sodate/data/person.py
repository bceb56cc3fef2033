"""Names of persons, Japanese and Western, by rules. Input is width-folded text (`pii.same_width`), output are spans."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sodate.data.names import EN_GIVEN, JA_GIVEN, JA_SURNAMES, words

_KANJI = "一-鿿々ヶ㐀-䶿\ufa0e-\ufa29\U00020000-\U0002ffff"  # names have rare ones
_HONORIFIC = re.compile("様(?![々子式相態な])|さま|さん|氏(?!名)|殿|先生|君(?![主臨])|くん|ちゃん")
# What stands before an honorific, read backwards: matching at one place is linear, searching for an end is not.
_BACKWARDS = re.compile(f" ?(?P<run>[ァ-ヴー・]{{2,16}}|[{_KANJI}ぁ-ん]{{0,4}} ?[{_KANJI}]{{1,8}})")
# Runs before an honorific that are roles, not names: 担当者様, 取引先様, 本屋さん, 皆さん, 同様, 仕様 …
_ROLE_END = frozenset(
    "者先長員主客方店社屋生人家親母父兄姉弟妹孫娘嫁婿婦夫王神仏皆各同多一異模仕有何今文奥殿貴両校部課係局院所室館達会嬢"
)
_KATAKANA_ROLES = words(
    """パパ ママ オーナー ユーザー スタッフ メーカー カスタマー ゲスト メンバー サポート ドライバー マネージャー
    リーダー テナント サンタ ベビー ペット ホスト クライアント エンドユーザー パートナー ワンコ ネコ ウサギ クマ"""
)
_LABEL_JA = re.compile(
    f"(?:氏名|名前|宛名|受取人|申込者|契約者|署名|担当者?|フリガナ|ふりがな|依頼者|患者)(?:様|名)?(?: ?: ?|は)"
    f"(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}ぁ-ん]{{0,4}}?"
    f"|[ァ-ヴー]{{2,8}}[ ・]?[ァ-ヴー]{{0,8}}|[ぁ-ん]{{2,5}} [ぁ-ん]{{2,5}})"
    r"(?=です|と申|と言|といい|でござ|様|さん|[、。,()/\s]|$)"
)
_SENTENCE = re.compile("[何誰はをがてにの]")  # 名前は何か, 名前は全角の括弧: a sentence went on where a name would be
_SELF_JA = re.compile(
    f"(?<![{_KANJI}])(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}})(?:"
    "(?P<sure>と申します)|といいます|と言います|でございます)"
)
_IN_CHARGE = re.compile(f"担当者?の(?P<name>[{_KANJI}]{{1,4}} ?[{_KANJI}]{{0,3}})(?=[がはよでに、])")
_FIRST = frozenset(name[0] for name in JA_SURNAMES)
_SURNAME_START = re.compile(
    "[" + "".join(sorted(_FIRST)) + "](?=.{0,3}[" + "".join(sorted({n[0] for n in JA_GIVEN})) + "])"
)
_JAPANESE = re.compile("[一-鿿]|[ァ-ヴ]{2}")

_WORD = r"[A-Z][a-zà-ÿ'’]{1,20}(?:-?[A-Z][a-zà-ÿ]{1,20})?"
_FULL = rf"{_WORD}(?: [A-Z]\.)?(?: {_WORD}){{0,2}}"
_TITLE = re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor)\.? (?P<name>{_FULL})")
_GREETING = re.compile(
    rf"(?:^|[\n.!?\"] ?)(?:Dear|Hi|Hello|Hey|Good morning|Good afternoon) (?P<name>{_FULL})(?=[,!.:\n]| -|$)"
)
_SIGN_OFF = re.compile(
    r"\b(?:[Rr]egards|[Ss]incerely|[Tt]ruly|[Ff]aithfully|[Bb]est wishes|Best|Thanks|Thank you|Cheers|Many thanks|Love)"
    rf"[,.!]?\s{{0,3}}\n\s{{0,3}}(?P<name>{_FULL})(?=\s{{0,3}}(?:\n|$)|,)"
)
_LABEL_EN = re.compile(
    rf"(?:\b[Mm]y name is|\b[Mm]y name's|\b(?:[Ff]ull |[Cc]ustomer |[Pp]atient |[Ff]irst |[Ll]ast )?[Nn]ame ?:"
    rf"|\b(?:Attn|Recipient|Signed|Contact|Cardholder) ?[:,]|\bsigned by|\b[Ss]peak(?:ing)? (?:to|with)) ?"
    rf"(?P<name>{_FULL})"
)
# Each pattern with words one of which it needs: looking for those first is ten times quicker.
_WESTERN = (
    (_TITLE, ("Mr", "Ms", "Miss", "Dr", "Prof")),
    (_GREETING, ("Dear ", "Hi ", "Hello ", "Hey ", "Good ")),
    (_SIGN_OFF, ("\n",)),
    (_LABEL_EN, ("ame", ":", "ttn", "igned", "peak", "Recipient,", "Contact,", "Cardholder,")),
)
_PAIR = re.compile(r"[a-zà-ÿ.'’] (?:[A-Z]|van |de )")
_TWO = re.compile(
    rf"\b(?P<first>{_WORD}) (?:[A-Z]\. )?(?P<last>(?:Mc|Mac|O'|van |de )?{_WORD})\b(?P<next>(?: [A-Z][a-z]+)?)"
)
_SELF_EN = re.compile(rf"\b(?:I am|I'm|I’m|[Tt]his is|[Ii]t's) (?P<name>{_WORD})\b")
_NOT_NAMES = words(
    """Sir Madam Team Customer Customers All Everyone Everybody There Support Friends Friend Hiring Manager Service
    Colleague Colleagues Members Member Guest Guests Editor Parents Santa World God Valued Client User Street St
    Road Rd Avenue Ave Lane Drive Court Place Square Park University College School Hospital Hotel Bank Airport
    Station Church Island Company Inc Ltd Corporation Group Foundation Award Prize Day January February March April
    June July August September October November December Monday Tuesday Wednesday Thursday Friday Saturday Sunday
    The This That Please Thank Thanks We You It Is Are Was Will Can May Has Had And Or Not If For Of In On At To
    From Mr Mrs Ms Dr Regarding Re"""
)


def names(folded: str) -> Iterator[tuple[int, int]]:
    """Spans of names without their honorifics, not overlapping; the longer of two that overlap."""
    spans: list[tuple[int, int]] = []
    if not folded.isascii() and _JAPANESE.search(folded):
        spans += _japanese(folded)
    if _CAPITAL.search(folded):
        spans += _western(folded)
    last = -1
    kept = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last:
            kept.append((start, end))
            last = end
    return iter(kept)


_CAPITAL = re.compile(r"[A-Z][a-zà-ÿ'’]")


def _japanese(folded: str) -> Iterator[tuple[int, int]]:
    for honorific in _HONORIFIC.finditer(folded):
        window = folded[max(0, honorific.start() - 16) : honorific.start()]
        before = _BACKWARDS.match(window[::-1])
        if before:
            end = honorific.start() - before.start("run")
            length = _named_tail(before["run"][::-1], window[: -before.end()])
            if length:
                yield end - length, end
    for m in _LABEL_JA.finditer(folded):
        if m["name"][-1] not in _ROLE_END and not _SENTENCE.search(m["name"]):
            yield m.span("name")
    for pattern, cue in ((_SELF_JA, "ます"), (_IN_CHARGE, "担当")):
        for m in pattern.finditer(folded) if cue in folded else ():
            name = m["name"].rstrip(" ")
            sure = "sure" in m.groupdict() and m["sure"]
            if name[-1] not in _ROLE_END and (sure or _surnames_of(name) or _given_after(name)):
                yield m.start("name"), m.start("name") + len(name)
    for m in _SURNAME_START.finditer(folded):
        at = m.start()
        for surname in _surnames_of(folded[at : at + 3]):
            end = at + len(surname)
            gap = 1 if folded[end : end + 1] == " " else 0
            given = _given_at(folded, end + gap)
            if given:
                yield at, end + gap + given
                break


def _surnames_of(text: str) -> list[str]:
    """Listed surnames that `text` starts with, longest first."""
    return [text[:n] for n in (3, 2, 1) if len(text) >= n and text[:n] in JA_SURNAMES]


def _given_at(folded: str, at: int) -> int:
    """Length of a listed given name at this place, 0 if there is none; one character counts only before a boundary."""
    for n in (3, 2):
        if at + n <= len(folded) and folded[at : at + n] in JA_GIVEN:
            return n
    follows = folded[at + 1 : at + 2]
    return (
        1 if folded[at : at + 1] in JA_GIVEN and not ("一" <= follows <= "鿿") and follows not in "いえきくすっ" else 0
    )


def _named_tail(run: str, before: str) -> int:
    """Length of the name at the end of a run of letters that an honorific follows, 0 if it looks like a role."""
    if run[0] >= "ァ" and run[0] <= "ー":
        return len(run) if run not in _KATAKANA_ROLES and run.strip("ー・") else 0
    family, gap, given = run.partition(" ")
    if gap and len(family) <= 4 and (given in JA_GIVEN or family in JA_SURNAMES):
        return len(run)
    for start in range(len(run)):  # a surname, alone or with a listed given name, as long as possible
        for surname in _surnames_of(run[start : start + 3]) if run[start] in _FIRST else ():
            rest = run[start + len(surname) :].lstrip(" ")
            if not rest and len(surname) > 1:
                return len(run) - start
            if rest in JA_GIVEN:
                return len(run) - start
    for surname in _surnames_of(run):  # a surname and up to three more letters
        rest = run[len(surname) :].lstrip(" ")
        if len(rest) <= 3 and run[-1] not in _ROLE_END:
            return len(run)
    if _given_after(run):
        return len(run)
    if run in JA_GIVEN and not before.endswith(("お", "ご", "御")):
        return len(run)
    plain = 2 <= len(run) <= 4 and not any("ぁ" <= c <= "ん" for c in run)
    return len(run) if plain and run[-1] not in _ROLE_END and not before.endswith(("お", "ご", "の", "御")) else 0


def _given_after(run: str) -> bool:
    """Whether a listed given name of two letters or more ends the run, with what may be a surname before it."""
    return any(run[-size:] in JA_GIVEN and 2 <= len(run[:-size].rstrip()) <= 3 for size in (2, 3))


def _western(folded: str) -> Iterator[tuple[int, int]]:
    for pattern, cues in _WESTERN:
        if not any(cue in folded for cue in cues):
            continue
        for m in pattern.finditer(folded):
            words = m["name"].split()
            if words[0] not in _NOT_NAMES:
                kept = next((i for i, word in enumerate(words) if word in _NOT_NAMES), len(words))
                yield m.start("name"), m.start("name") + len(re.sub("['’]s$", "", " ".join(words[:kept])))
    for m in _SELF_EN.finditer(folded):
        if m["name"] in EN_GIVEN:
            yield m.span("name")
    pair = _TWO.search(folded) if _PAIR.search(folded) else None
    while pair:  # overlapping on purpose: "Yesterday Anna Smith" starts again at Anna
        m, pair = pair, _TWO.search(folded, pair.end("first"))
        if m["first"] in EN_GIVEN and m["last"] not in _NOT_NAMES and m["next"].strip() not in _PLACES:
            yield m.start("first"), m.end("last")


_PLACES = words(
    """Street St Road Rd Avenue Ave Lane Drive Park University College School Hospital Hotel Airport Award"""
)
