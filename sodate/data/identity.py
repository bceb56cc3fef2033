"""Numbers of Japanese papers and accounts, dates of birth, and the numbers of companies, which are nobody's.

Input is folded text, as `pii` makes it; output are (kind, start, end). A number with a check digit is found by it, the
others by the word that announces them. What is labelled is found even if its check digit is wrong: it was meant so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[str, int, int]

CORPORATE, INVOICE = "corporate-number", "invoice-number"
PUBLIC = frozenset((CORPORATE, INVOICE))  # of a company, in a public register: told apart, and left as they are

_GAP = r"[^0-9\n+]{0,12}?"
_SEP = r"[-ー・. ]{0,3}"
_NOT_ON = r"(?![0-9])"


def _run(least: int, most: int) -> str:
    return rf"[0-9](?:{_SEP}[0-9]){{{least - 1},{most - 1}}}"


_MARK = "(?:番号|No\\.?|ナンバー|番|#)?"
# Each kind by the word before it; the number is the group `n`.
_LABELLED = (
    ("my-number", ("ナンバー", "個人番号", "ndividual", "umber"), re.compile(
        rf"(?:マイナンバー|個人番号|My Number|[Ii]ndividual [Nn]umber){_GAP}(?P<n>{_run(12, 12)}){_NOT_ON}")),
    ("driver-licence", ("免許", "icen", "ICEN"), re.compile(
        rf"(?:免許証?の?{_MARK}|(?i:driver'?s?'? licen[cs]e)){_GAP}(?P<n>{_run(12, 12)}){_NOT_ON}")),
    ("passport", ("旅券", "パスポート", "assport", "ASSPORT"), re.compile(
        rf"(?:旅券の?{_MARK}|パスポートの?{_MARK}|(?i:passport))[^0-9A-Z\n]{{0,12}}(?:No\.? ?)?"
        r"(?P<n>[A-Za-z]{1,2} ?[0-9]{6,8}|[0-9]{8,9})(?![0-9A-Za-z])")),
    ("bank-account", ("口座", "ccount"), re.compile(
        rf"(?:口座{_MARK}|(?i:account (?:number|no\.?))){_GAP}(?P<n>{_run(6, 10)}){_NOT_ON}")),
    ("bank-account", ("普通", "当座", "貯蓄", "普)", "当)"), re.compile(
        rf"(?:(?:普通|当座|貯蓄)(?:預金|口座)?|\((?:普|当)\)) ?[:：]?(?:番号)?[: ]?"
        rf"(?P<n>{_run(7, 7)}){_NOT_ON}(?! ?[個円人件本枚])")),
    ("pension", ("年金",), re.compile(
        rf"(?:年金{_MARK}|年金手帳の?(?:記号)?{_MARK}){_GAP}(?P<n>{_run(10, 10)}){_NOT_ON}")),
    ("health-insurance", ("保険", "資格確認"), re.compile(
        rf"(?:被?保険者(?:証|等)?の?(?:記号)?・?(?:番号|No\.?)|(?:保険証|健康保険証?|資格確認書)の?(?:番号|No\.?)?)(?!の?記号){_GAP}"
        rf"(?P<n>{_run(4, 12)}){_NOT_ON}")),
    (CORPORATE, ("法人",), re.compile(rf"法人{_MARK}{_GAP}(?P<n>{_run(13, 13)}){_NOT_ON}")),
    (INVOICE, ("登録番号", "インボイス", "適格"), re.compile(
        rf"(?:登録番号|インボイス{_MARK}|適格請求書[^0-9\n]{{0,14}}?){_GAP}(?P<n>T ?-?{_run(13, 13)}){_NOT_ON}")),
)  # fmt: skip
_SYMBOL = re.compile(
    r"記号[^0-9\n]{0,4}(?P<symbol>[0-9][0-9\-ー]{0,7})[^0-9\n]{0,8}番号[^0-9\n]{0,4}(?P<n>[0-9]{1,8})(?![0-9])"
    r"(?:[^0-9\n]{0,6}枝番[^0-9\n]{0,4}(?P<branch>[0-9]{1,2}))?"
)
_INVOICE = re.compile(rf"(?<![A-Za-z0-9])T ?-?{_run(13, 13)}{_NOT_ON}")
_TWELVE = re.compile(rf"(?<![0-9])(?<![0-9][-ー ])[0-9]{{12}}{_NOT_ON}(?![-ー][0-9])")
_THIRTEEN = re.compile(rf"(?<![0-9])(?<![0-9][-ー ])[0-9](?:[-ー ]?[0-9]{{4}}){{3}}{_NOT_ON}(?![-ー][0-9])")
_RESIDENCE = re.compile(rf"(?<![A-Za-z0-9])[A-Z]{{2}}{_SEP}[0-9]{{8}}{_SEP}[A-Z]{{2}}(?![A-Za-z0-9])")
_PASSPORT = re.compile(r"(?<![A-Za-z0-9])[MNT][A-Z][0-9]{7}(?![0-9A-Za-z])")
_MACHINE = re.compile(
    r"P[A-Z<][A-Z]{3}[A-Z<]{39}|(?P<number>[A-Z0-9<]{9})(?P<check>[0-9])[A-Z<]{3}[0-9]{7}[MFX<][0-9]{7}[A-Z0-9<]{14}[0-9<][0-9]"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
# Tens by region, units by prefecture: 10-14 Hokkaidō, 20-25 Tōhoku, 30 Tokyo, and so on to Okinawa's 97.
_LAST_UNIT = {"1": 4, "2": 5, "3": 0, "4": 9, "5": 5, "6": 5, "7": 4, "8": 3, "9": 7}

_N = "(?:元|[0-9]{1,2}|[〇一二三四五六七八九十]{1,3})"
_ERA = r"(?:明治|大正|昭和|平成|令和|[MTSHR明大昭平令])"
_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_DATE = (
    rf"(?:{_ERA} ?{_N} ?(?:年|[-./])[ ]?{_N} ?(?:月|[-./])[ ]?{_N} ?日?|(?:{_ERA} ?)?[0-9]{{6}}(?![0-9])"
    rf"|(?:19|20)[0-9]{{2}} ?(?:年|[-./ ])[ ]?{_N} ?(?:月|[-./ ])[ ]?{_N}日?|(?:19|20)[0-9]{{6}}(?![0-9])"
    rf"|{_N}[-./]{_N}[-./](?:19|20)[0-9]{{2}}|{_MONTHS}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{{2}}"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)? {_MONTHS}\.?,? (?:19|20)[0-9]{{2}})"
)
_BORN = re.compile(
    r"(?:生年月日|誕生日|(?i:date of birth|birth ?date|birthday|\bdob\b|\bborn(?: on)?))"
    r"(?:[^0-9A-Z\n明大昭平令]|は|が){0,8}?"
    rf"(?P<n>{_DATE})"
)
_BORN_AFTER = re.compile(rf"(?P<n>{_DATE}) ?(?:\([^)\n]{{1,12}}\) ?)?(?:生まれ|うまれ|生(?![産活徒命物き成放]))")


_CUES = tuple(dict.fromkeys(cue for _, cues, _ in _LABELLED for cue in cues))
_CUE = re.compile("|".join(map(re.escape, _CUES)))  # none is in most texts


def labelled(folded: str) -> Iterator[Span]:
    """What a word before it announces, and what looks like nothing else."""
    there = {cue for cue in _CUES if cue in folded} if _CUE.search(folded) else set()
    for kind, cues, pattern in _LABELLED if there else ():
        if not there.isdisjoint(cues):
            for m in pattern.finditer(folded):
                yield kind, *m.span("n")
    if "記号" in folded:
        for m in _SYMBOL.finditer(folded):
            bank = re.fullmatch("1[0-9]{3}0", m["symbol"]) and "保険" not in folded[max(0, m.start() - 40) : m.start()]
            for group in ("symbol", "n", "branch"):
                if m[group]:
                    yield "bank-account" if bank else "health-insurance", *m.span(group)
    if _LETTERED.search(folded):
        yield from _lettered(folded)
    yield from _birthdays(folded)


def _lettered(folded: str) -> Iterator[Span]:
    """Numbers with capital letters, which their form alone gives away."""
    for m in _RESIDENCE.finditer(folded):
        yield "residence-card", *m.span()
    for m in _MACHINE.finditer(folded):
        if m["number"] is None or machine_check(m["number"]) == int(m["check"]):
            yield "passport", *m.span()
    for m in _IBAN.finditer(folded):
        if iban_valid(m[0]):
            yield "bank-account", *m.span()
    for m in _INVOICE.finditer(folded):
        if corporate_valid(re.sub("[^0-9]", "", m[0])):
            yield INVOICE, *m.span()


_LETTERED = re.compile(f"[A-Z<]{_SEP}[0-9]|<<")  # what all of these numbers have
# What the two patterns have in them, which is looked for sooner than they are.
_BIRTH = re.compile("生年月日|誕生日|birth|Birth|born|Born|dob|DOB|BIRTH|BORN")
_AFTER = re.compile("[0-9元〇一二三四五六七八九十日)] {0,2}(?:生|うまれ)")


def _birthdays(folded: str) -> Iterator[Span]:
    for cue, pattern in ((_BIRTH, _BORN), (_AFTER, _BORN_AFTER)):
        if cue.search(folded):
            for m in pattern.finditer(folded):
                yield "birthday", *m.span("n")


def licences(folded: str) -> Iterator[tuple[int, int]]:
    """Twelve digits that nothing announces and that are the number of a driving licence by code and check digit."""
    return (m.span() for m in _TWELVE.finditer(folded) if licence_valid(m[0]))


def passports(folded: str) -> Iterator[tuple[int, int]]:
    """What has the form of a Japanese passport's number and is announced by nothing."""
    return (m.span() for m in _PASSPORT.finditer(folded))


def corporate(folded: str) -> Iterator[tuple[int, int]]:
    """Thirteen digits that are the number of a company by their check digit."""
    return (m.span() for m in _THIRTEEN.finditer(folded) if corporate_valid(re.sub("[^0-9]", "", m[0])))


def licence_valid(digits: str) -> bool:
    """A driving licence's: the code of a public safety commission, and the eleventh digit by modulus 11 with the
    weights 5 4 3 2 7 6 5 4 3 2 over the first ten, the units of 11 less the rest."""
    if len(digits) != 12 or int(digits[1]) > _LAST_UNIT.get(digits[0], -1):
        return False
    total = sum(int(d) * w for d, w in zip(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2), strict=False))
    return int(digits[10]) == (11 - total % 11) % 10


def corporate_valid(digits: str) -> bool:
    """A corporate number's first digit: 9 less the rest, modulo 9, of the other twelve weighed 1 and 2 in turn from the
    right (National Tax Agency; Order of the Ministry of Finance No. 70 of 2014)."""
    if len(digits) != 13:
        return False
    total = sum(int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits[1:])))
    return int(digits[0]) == 9 - total % 9


def iban_valid(text: str) -> bool:
    """ISO 13616: letters as 10 to 35, the first four characters moved to the end, modulo 97 is 1."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def machine_check(field: str) -> int:
    """The check digit of a field in a machine-readable zone: weights 7 3 1 modulo 10 (ICAO Doc 9303, part 3)."""
    return sum((0 if c == "<" else int(c, 36)) * (7, 3, 1)[n % 3] for n, c in enumerate(field)) % 10
