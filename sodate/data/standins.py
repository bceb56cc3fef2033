"""Stand-ins for personal data that look real: names from lists, numbers of the same form, addresses of no house."""

from __future__ import annotations

import datetime
import re

from sodate.core.variants import folded
from sodate.data.names import EN_GIVEN, JA_GIVEN, JA_SURNAMES
from sodate.data.pii import card_valid, same_width

_FAMILIES, _GIVEN = sorted(name for name in JA_SURNAMES if len(name) > 1), sorted(JA_GIVEN)
_FIRST = sorted(name for name in EN_GIVEN if name.isalpha())
_LAST = ("Archer", "Barton", "Carver", "Dalton", "Easton", "Farrow", "Garner", "Hadley", "Ingram", "Jarvis", "Keaton",
         "Lawson", "Marlow", "Norton", "Osborn", "Palmer", "Quimby", "Rowley", "Sutton", "Thorne", "Upton", "Verity",
         "Walton", "Yardley")  # fmt: skip
_JAPANESE = re.compile("[ぁ-んァ-ヶ一-鿿々]")
_SPREAD = 7919  # a prime: neighbours in number are no neighbours in the list


def like(kind: str, value: str, number: int) -> str:
    """The stand-in of this number (from 1) for a value of this kind, in a form like its own."""
    return _MAKERS.get(kind, _digits)(value, number)


def _name(value: str, number: int) -> str:
    if not _JAPANESE.search(value):
        first, last = _FIRST[number * _SPREAD % len(_FIRST)], _LAST[number % len(_LAST)]
        return f"{first} {last}" if " " in value else last
    family, given = _FAMILIES[number * _SPREAD % len(_FAMILIES)], _GIVEN[number * _SPREAD % len(_GIVEN)]
    gap = next((char for char in value if char.isspace()), "")
    return family if folded(value) in JA_SURNAMES or len(value) < 3 else family + gap + given


def _email(value: str, number: int) -> str:
    return f"user{number}@example.{'jp' if value.lower().endswith('jp') else 'com'}"


def _address(value: str, number: int) -> str:
    if _JAPANESE.search(value) or "〒" in value:
        return f"東京都千代田区千代田{number % 9 + 1}-{number // 9 % 90 + 1}-{number // 810 + 1}"
    return f"{number} Example Street"


def _birthday(value: str, number: int) -> str:
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=number * 97 % 7000)
    plain = same_width(value)
    if re.match("[明大昭平令]|[MTSHR][ 0-9元]", plain):
        day = day.replace(year=1970 + day.year % 19)  # Shōwa 45 to 63
        return f"昭和{day.year - 1925}年{day.month}月{day.day}日"
    return f"{day.year}年{day.month}月{day.day}日" if "年" in plain else day.isoformat()


def _phone(value: str, number: int) -> str:
    plain = re.sub("[^0-9]", "", same_width(value))
    head = 3 if plain.startswith("0") else 2
    return _filled(value, plain[:head], number)


def _card(value: str, number: int) -> str:
    body = f"4000{number:011d}"[:15]
    whole = next(body + last for last in "0123456789" if card_valid(body + last))
    return " ".join(whole[i : i + 4] for i in range(0, 16, 4))


def _digits(value: str, number: int) -> str:
    return _filled(value, "", number)


def _filled(value: str, head: str, number: int) -> str:
    """The value's form, with these first digits, and zeros that end in the number."""
    form = same_width(value)
    room = sum(char.isdigit() for char in form) - len(head)
    if room < len(str(number)):
        return f"{head}{number}"
    fill = iter(head + str(number).rjust(room, "0"))
    return "".join(
        next(fill) if char.isdigit() else "A" if char.isalpha() and char.isascii() else char for char in form
    )


_MAKERS = {"name": _name, "email": _email, "address": _address, "birthday": _birthday, "phone": _phone, "card": _card}
