"""Personal data in text: e-mail addresses, phones, payment cards, My Numbers, names, postal addresses, dates of birth,
and the numbers of licences, passports, accounts, pensions, health insurance and residence cards (`identity`).

Rules, not a model: quick, explainable, the same answer every time, and incomplete. Measure with `bench/pii_recall.py`.
What is not found:
- names that nothing announces and that are not in the lists of `names.py` (a rare surname in running text, a given name
  alone, romanised Japanese names outside the list, handles and nicknames);
- Japanese names in hiragana or half-width katakana without a label; names next to a title such as 課長 or 部長;
- addresses without a number, in kanji numerals throughout, or outside the Japanese, US and UK forms;
- ten digits in a row without a phone label, unless `wary`: they look like order numbers;
- numbers without a check digit (accounts, pensions, insurance) that no word announces; IP addresses.
About one 12-digit number in ten passes the check digit of a My Number by chance; one directly after the label of
another kind of number (注文番号, order no.) is left alone.

Width and variants of kanji (髙, 﨑, 邉, 齋: `variants.py`) and other forms of digits are folded one character to one
character; what takes several characters, such as `[at]`, is written plainly with a map back (`spellings.py`). So every
offset is an offset in the text that was given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sodate.core import variants
from sodate.data import identity, spellings
from sodate.data.address import addresses
from sodate.data.person import names


@dataclass(frozen=True, slots=True)
class Finding:
    """`text[start:end]`, which looks like personal data of one kind: email, phone, card, my-number, name, address,
    birthday, driver-licence, passport, bank-account, pension, health-insurance or residence-card."""

    kind: str
    start: int
    end: int
    text: str


def find(text: str, *, wary: bool = False) -> list[Finding]:
    """Personal data in reading order; findings do not overlap: where two kinds claim a place, the surer one has it.

    `wary` is for data that is to be kept: forms that mean a person more often than not count without a label, too.
    """
    return [finding for finding in find_all(text, wary=wary) if finding.kind not in identity.PUBLIC]


def find_all(text: str, *, wary: bool = False) -> list[Finding]:
    """As `find`, with the numbers of companies, which are nobody's personal data."""
    places: list[int] | None = None
    plain = text
    if (whole := variants.composed(text)) is not None:
        plain, places = whole
    plain = same_width(plain)
    if (spelt := spellings.plain(plain)) is not None:
        plain = spelt[0]
        places = spelt[1] if places is None else [places[at] for at in spelt[1]]
    found = _find(plain, wary)
    if places is not None:
        found = [(places[start], places[end], kind) for start, end, kind in found]
    return [Finding(kind, start, end, text[start:end]) for start, end, kind in found]


def _find(width_folded: str, wary: bool) -> list[tuple[int, int, str]]:
    folded = spellings.digits(variants.folded(width_folded))
    taken: list[tuple[int, int, str]] = []
    covered = bytearray(len(folded))

    def claim(kind: str, spans: Iterable[tuple[int, int]]) -> None:
        for start, end in spans:
            if 1 not in covered[start:end]:
                covered[start:end] = b"\1" * (end - start)
                taken.append((start, end, kind))

    if "@" in folded:
        claim("email", _emails(folded))
    if _DIGITS.search(folded):
        for kind, start, end in identity.labelled(folded):
            claim(kind, ((start, end),))
        long = _LONG.search(folded) is not None
        claim("my-number", _my_numbers(folded) if long else ())
        claim(
            "driver-licence",
            () if not long else (span for span in identity.licences(folded) if not _other_number(folded, span[0])),
        )
        if wary:
            claim("passport", (span for span in identity.passports(folded) if not _other_number(folded, span[0])))
        claim("card", _cards(folded) if long else ())
        claim(identity.CORPORATE, identity.corporate(folded) if long else ())
        # Digits that are spoken for are hidden, or a number beside them would seem to go on.
        hidden = "".join("|" if c else char for c, char in zip(covered, folded, strict=True)) if taken else folded
        claim("phone", _phones(hidden, wary) if _SOME.search(hidden) else ())
        claim("address", addresses(folded))
    claim("name", names(folded))
    return sorted(taken)


def same_width(text: str) -> str:
    """Full-width forms as plain ones and hyphens as `-`, length unchanged (ー stays: it is a letter)."""
    if text.isascii() or not _FOLDABLE.search(text):
        return text
    return _FOLDABLE.sub(_fold_one, text)


_FOLDABLE = re.compile("[\u00a0\u2010-\u2015\u2212\u3000\uff01-\uff9f\U0001d7ce-\U0001d7ff]")
_HYPHENS = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d\uff70")


def _fold_one(match: re.Match[str]) -> str:
    char = match[0]
    return "-" if char in _HYPHENS else unicodedata.normalize("NFKC", char)


# So many digits near one another, as all numbers that are looked for have. (A pattern that begins with a digit, and not
# with a repeated group, is looked for three times as quickly.)
_LONG = re.compile(r"[0-9](?:[^0-9\n]{0,3}[0-9]){11}")
_SOME = re.compile(r"[0-9](?:[^0-9]{0,3}[0-9]){7}")
_DIGITS = re.compile("[0-9]|丁目|生年|誕生|生まれ|日生")
# The number is called something else right before it.
_OTHER_NUMBER = re.compile(
    r"(?:(?:注文|受注|伝票|受付|追跡|会員|予約|管理|製造|請求書?|契約|社員|顧客|商品|整理)(?:番号|コード|ID|No\.?)|品番|型番"
    r"|\b(?:order|invoice|tracking|ticket|case|reference|ref|serial|part|model|account|item|sku|isbn|id)\b"
    r"(?: (?:number|no|id|code))?)[.:は#\s]{0,3}(?:is |was )?#?$",
    re.IGNORECASE,
)


def _other_number(folded: str, start: int) -> bool:
    return _OTHER_NUMBER.search(folded[max(0, start - 28) : start]) is not None


_LOCAL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=?^_`{|}~.-"
_J = "ぁ-んァ-ヶー一-鿿"  # labels of internationalised domains
_DOMAIN = re.compile(
    rf"(?:[A-Za-z0-9{_J}](?:[A-Za-z0-9{_J}-]{{0,62}})\.){{1,8}}(?:[A-Za-z]{{2,24}}|xn--[A-Za-z0-9-]{{2,59}})(?![A-Za-z0-9-])"
    r"|\[(?:[0-9]{1,3}\.){3}[0-9]{1,3}\]"
)
_QUOTED = re.compile(r'"[^"@\n]{1,62}"$')


def _emails(folded: str) -> Iterator[tuple[int, int]]:
    at = folded.find("@")
    while at >= 0:
        before = folded[max(0, at - 64) : at]
        local = before[len(before.rstrip(_LOCAL)) :].lstrip(".'`*/=?|{(-")
        domain = _DOMAIN.match(folded, at + 1)
        quoted = _QUOTED.search(before) if domain and before.endswith('"') else None
        length = len(quoted[0]) if quoted else len(local)
        if length and domain:
            yield at - length, domain.end()
        at = folded.find("@", at + 1)


_MY_NUMBER = re.compile(
    r"(?<![0-9])(?<![0-9][ \-ー])(?:[0-9]{4}(?P<sep>[-ー .・/_の]{0,3})[0-9]{4}(?P=sep)[0-9]{4}|[0-9](?: [0-9]){11})"
    r"(?![ \-ー]?[0-9])"
)


def my_number_valid(digits: str) -> bool:
    """The check digit of an individual number.

    Ministry of Internal Affairs and Communications, Order No. 85 of 2014, article 5: with P_n the nth digit counted
    from the right of the first eleven, Q_n = n + 1 for n <= 6 and n - 5 for n >= 7, and r = Σ P_n Q_n mod 11, the check
    digit is 0 when r <= 1 and 11 - r otherwise.
    """
    if len(digits) != 12:
        return False
    total = sum(int(p) * (n + 1 if n <= 6 else n - 5) for n, p in enumerate(reversed(digits[:11]), 1))
    remainder = total % 11
    return int(digits[11]) == (0 if remainder <= 1 else 11 - remainder)


def _my_numbers(folded: str) -> Iterator[tuple[int, int]]:
    for m in _MY_NUMBER.finditer(folded):
        if my_number_valid(_only_digits(m[0])) and not _other_number(folded, m.start()):
            yield m.span()


_CARD = re.compile(
    r"(?<![0-9])(?:[0-9]{4}([-ー .・/_の]{0,3})[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}"
    r"|[0-9]{4}([-ー .・/_の]{0,3})[0-9]{6}\2[0-9]{4,5}"
    r"|[0-9](?: [0-9]){15})(?![0-9])"
)
# Issuer prefixes and lengths: Visa, Mastercard, American Express, JCB, Diners Club, Discover, UnionPay.
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile(r"30[0-5]|3[689]"), (14, 15, 16, 17, 18, 19)),
    (re.compile(r"6011|64[4-9]|65|62"), (16, 17, 18, 19)),
)


def card_valid(digits: str) -> bool:
    """Issuer prefix, length and Luhn sum (ISO/IEC 7812-1)."""
    if not any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS):
        return False
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (doubled + sum(int(d) for d in digits[-1::-2])) % 10 == 0


def _cards(folded: str) -> Iterator[tuple[int, int]]:
    start = 0
    while m := _CARD.search(folded, start):
        start = m.start() + 1  # other digits before a card, such as a phone number, may look like its first ones
        if card_valid(_only_digits(m[0])):
            start = m.end()
            yield m.span()


def _only_digits(text: str) -> str:
    return re.sub("[^0-9]", "", text)


_H = r"[ ]?[-ー.・/_~〜の][ ]?"
_S = r"[-ー. ]"
_ANY = spellings.SEPARATOR
_TEL = (
    "(?:"
    + "|".join(rf"(?<={word}{end})" for word in ("TEL", "Tel", "tel", "FAX", "Fax", "fax") for end in ("", "[-_/#.]"))
    + ")"
)
# Each alternative is bounded, so a search is linear. Names say what `_phones` has to check.
_PHONE = re.compile(
    rf"""(?:(?<![0-9A-Za-z#.])(?<![0-9A-Za-z][-ー_])|{_TEL})(?:
      (?P<mobile>(?:\(\+?81\)|(?:\+|0{{1,2}}|010[-\ ])?81){_ANY}(?:\(0\)|0)?{_ANY}[5789]{_S}?0
          (?:{_ANY}[0-9]){{8}}(?![0-9])
        |(?:\(0{_S}?[5789]{_S}?0\)|0{_S}?[5789]{_S}?0)(?:{_ANY}[0-9]){{8}}(?![0-9]))
    | (?P<free>0(?:120|570)(?:{_ANY}[0-9]){{6}}|0800(?:{_ANY}[0-9]){{7}})
    | (?P<japan>(?:\(\+81\)|\+81){_ANY}(?:\(0\))?{_ANY}[1-9](?:{_ANY}[0-9]){{8}})
    | (?P<uk>\(?0(?:2[0-9]|1[0-9]{{2,3}}|7[0-9]{{3}})\)?\ [0-9]{{3,4}}\ ?[0-9]{{3,4}})
    | (?P<fixed>0[1-9][0-9]{{0,3}}(?:{_H}[0-9]{{1,4}}{_H}|\ [0-9]{{1,4}}\ |\ ?\([0-9]{{1,4}}\)\ ?)[0-9]{{4}}
        |\(0[1-9][0-9]{{0,3}}\)\ ?[0-9]{{1,4}}{_S}[0-9]{{4}})
    | (?P<world>\+[1-9][0-9]{{0,2}}(?:{_S}?\(0\))?(?:{_S}?\(?[0-9]{{1,5}}\)?){{2,5}})
    | (?P<us>(?:1{_S})?(?:\([2-9][0-9]{{2}}\)\ ?|[2-9][0-9]{{2}}[-.\ ])[2-9][0-9]{{2}}[-.\ ][0-9]{{4}})
    | (?P<spaced>0(?:\ [0-9]){{9,10}})
    | (?P<bare>0[1-9][0-9]{{8}})
    | (?P<said>[2-9][0-9]{{2}}[2-9][0-9]{{6}})
    )(?![0-9]|(?<![0-9])[A-Za-z]|[-ー][0-9])""",
    re.VERBOSE,
)
_PHONE_DIGITS = {"mobile": (11, 15), "free": (10, 11), "fixed": (10, 10), "uk": (10, 11), "world": (8, 15),
                 "japan": (11, 12)}  # fmt: skip
_PHONE_CUE = re.compile(r"(?:電話|携帯|TEL|FAX|連絡先|phone|mobile|call|cell|text me|number is)", re.IGNORECASE)


def _phones(folded: str, wary: bool) -> Iterator[tuple[int, int]]:
    for m in _PHONE.finditer(folded):
        kind = m.lastgroup or ""
        few, many = _PHONE_DIGITS.get(kind, (10, 11))
        if not few <= len(_only_digits(m[0])) <= many or _other_number(folded, m.start()):
            continue
        unsure = kind == "said" or (kind == "bare" and not wary)
        if unsure and not _PHONE_CUE.search(folded[max(0, m.start() - 16) : m.end() + 6]):
            continue
        yield m.span()
