"""Japanese, US and UK postal addresses by rules. Input is width-folded text (`pii.same_width`), output are spans."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PREFECTURE = re.compile(
    "北海道|東京都|(?:京都|大阪)府|(?:青森|岩手|宮城|秋田|山形|福島|茨城|栃木|群馬|埼玉|千葉|神奈川|新潟|富山|石川|福井|山梨|長野|岐阜"
    "|静岡|愛知|三重|滋賀|兵庫|奈良|和歌山|鳥取|島根|岡山|広島|山口|徳島|香川|愛媛|高知|福岡|佐賀|長崎|熊本|大分|宮崎|鹿児島|沖縄)県"
)
_KANJI = "一-鿿々〆ヶケ"
_PLACE = re.compile(f"[{_KANJI}ぁ-んァ-ヴー ]{{2,40}}$")
# Municipalities written in hiragana or mixed, which the rule "kanji before 市" would cut short.
_CITY = re.compile(
    f"(?:さいたま|つくば|つくばみらい|いわき|ひたちなか|かすみがうら|あきる野|みどり|うるま|たつの|[{_KANJI}ァ-ヴー]{{1,6}}?)[市区町村郡]"
)
_JA_NUMBER = re.compile(
    r"(?<![0-9])(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3})(?:丁目|番地|番(?!目|組|線|号線)|[-ー](?=[0-9]))"
    r"(?:(?:の|[-ー])?(?:[0-9]{1,4}|[一二三四五六七八九十]{1,3})(?:番地|番|号)?){0,4}"
)
_BUILDING = re.compile(
    rf"\s?[{_KANJI}のァ-ヴーA-Za-z・]{{1,20}}(?:ビル|マンション|ハイツ|アパート|タワー|荘|コーポ|レジデンス|ハウス)?\s?"
    r"[0-9]{1,4}(?:号室|号|階|F)|\s?[0-9]{1,4}号室"
)
_POSTAL = re.compile(
    r"(?:〒\s?|郵便番号[:は]?\s?)[0-9]{3}[-ー]?[0-9]{4}(?![0-9])|(?<![0-9\-ー])[0-9]{3}[-ー][0-9]{4}(?=\s?[一-鿿])"
)

# What each of them has in it, which is looked for sooner than it is.
_CAPITAL = re.compile("[A-Z][a-z]")
_CODE = re.compile("[A-Z] ?[0-9]|Box ")
_SEVEN = re.compile("[0-9][0-9]{2}[-ー]?[0-9]{4}")
_NUMBERED = re.compile("[-ー丁番](?:[0-9目]|(?<=番))")
_STATES = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR "
    "PA RI SC SD TN TX UT VT VA WA WV WI WY DC"
).replace(" ", "|")
_UK = r"[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}"
_TOWN = r"[A-Z][a-z]{1,20}(?: [A-Z][a-z]{1,20}){0,2}"
_UNIT = r"(?:Apt|Apartment|Unit|Suite|Ste|Flat|Room|#)\.? ?[0-9A-Z]{1,5}"
_STREET = re.compile(
    rf"(?<![0-9A-Za-z.,/\-])(?:{_UNIT},? )?[0-9]{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?"
    r"(?:[A-Z0-9][A-Za-z0-9'’]{1,20}\.? ){1,4}?"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Way|Square|Sq|Terrace|Close"
    r"|Crescent|Parkway|Pkwy|Highway|Hwy|Gardens|Grove)\b\.?"
    rf"(?:,? {_UNIT}\b)?(?:,\s{{1,2}}{_TOWN})?(?:,?\s{{1,2}}(?:(?:{_STATES}) [0-9]{{5}}(?:-[0-9]{{4}})?|{_UK})\b)?"
)
_LAST_LINE = re.compile(
    rf"\b{_TOWN},? (?:{_STATES}) [0-9]{{5}}(?:-[0-9]{{4}})?\b|(?:\b{_TOWN},? )?\b{_UK}\b|\bP\.?O\.? Box [0-9]{{1,6}}\b"
)


def addresses(folded: str) -> Iterator[tuple[int, int]]:
    """Spans of postal addresses and postal codes, not overlapping, a code and its address as one."""
    spans = list(_japanese(folded)) if _NUMBERED.search(folded) else []
    for cue, pattern in ((_SEVEN, _POSTAL), (_CAPITAL, _STREET), (_CODE, _LAST_LINE)):
        if cue.search(folded):
            spans += [m.span() for m in pattern.finditer(folded)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and (start <= merged[-1][1] or not folded[merged[-1][1] : start].strip(" ,、\n")):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return iter(merged)


def _japanese(folded: str) -> Iterator[tuple[int, int]]:
    """From the house number back to the prefecture or the city, and on to the room."""
    for number in _JA_NUMBER.finditer(folded):
        place = _PLACE.search(folded[max(0, number.start() - 40) : number.start()])
        if not place:
            continue
        at = number.start() - len(place[0])
        prefectures = list(_PREFECTURE.finditer(place[0]))
        if prefectures:
            start = at + prefectures[-1].start()
        else:
            city = _CITY.search(place[0])
            # A town has to follow the city, and a number after a particle (札幌市は3-1で) is no house number.
            if not city or city.end() == len(place[0]) or place[0][-1] in "はがをにでもとへやの ":
                continue
            start = at + city.start()
        building = _BUILDING.match(folded, number.end())
        yield start, building.end() if building else number.end()
