"""Personal data replaced: the same person, number or address gets the same pseudonym, and a My Number none at all.

    names = Pseudonyms()
    mask("田中様の電話は090-1234-5678", names).text   # 顧客A様の電話はPHONE_1
    mask_values({"messages": [...]}, names).value   # every text of a document, a name found in one replaced in all

Nothing is read or written here: text in, text out. What a pseudonym stood for is in `Pseudonyms.known`, which whoever
made it keeps apart (`data.mask_key`) or forgets. A My Number is removed for good: the law lets nobody keep it for this.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core import variants
from sodate.data import pii, spellings, standins
from sodate.data.identity import PUBLIC
from sodate.data.names import words as each

MY_NUMBER = "my-number"
REMOVED = f"[{MY_NUMBER}]"
LISTED = "listed"  # the kind of what is in a project's own list
_STRANGE = 3  # a name of so many characters is looked for in the rest of the document, too
_ROUNDS = 3  # what stands beside a pseudonym is looked at again


@dataclass
class Pseudonyms:
    """What each personal value is called. `known`: the value by its pseudonym, as it was first written.

    `style` standin: names, numbers and addresses that look real and are nobody's that sodate knows. `avoid` are
    pseudonyms that stand in the text already and mean something else there.
    """

    style: str = "pseudonym"
    known: dict[str, str] = field(default_factory=dict)
    avoid: frozenset[str] = frozenset()
    _by_value: dict[tuple[str, str], str] = field(default_factory=dict)
    _count: Counter[str] = field(default_factory=Counter)

    def of(self, kind: str, value: str) -> str:
        """The pseudonym of a value of this kind, however it is written."""
        if kind == MY_NUMBER:
            return REMOVED
        key = (kind, _as_one(kind, value))
        if key not in self._by_value:
            self._by_value[key] = name = self._new(kind, value)
            self.known[name] = value
        return self._by_value[key]

    def remember(self, kind: str, name: str, value: str) -> None:
        """A pseudonym that was given before, in another file."""
        self._by_value[kind, _as_one(kind, value)] = name
        self.known[name] = value

    @property
    def counts(self) -> dict[str, int]:
        """How many pseudonyms of each kind were given."""
        return dict(self._count)

    def count_from(self, counts: Mapping[str, int]) -> None:
        """Goes on after these, so that no pseudonym is given twice."""
        self._count.update({str(kind): int(count) for kind, count in counts.items()})

    def kinds(self) -> Iterable[tuple[str, str]]:
        """(kind, pseudonym) of all that were given."""
        return ((kind, name) for (kind, _), name in self._by_value.items())

    def _new(self, kind: str, value: str) -> str:
        while True:
            self._count[kind] += 1
            number = self._count[kind]
            name = standins.like(kind, value, number) if self.style == "standin" else _pseudonym(kind, value, number)
            if name not in self.known and name not in self.avoid and name != value:
                return name


class Known:
    """Names that are looked for wherever they stand, by their first two letters."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_start: dict[str, list[str]] = {}
        for name in sorted({name for name in names if len(name) >= _STRANGE}, key=len, reverse=True):
            self._by_start.setdefault(name[:2], []).append(name)

    def spans(self, text: str) -> Iterable[tuple[int, int, str]]:
        """Where they stand as words: スミス is not in ブラックスミス, Ann not in Anna."""
        at = 0
        while self._by_start and at < len(text) - 1:
            end = at
            for name in self._by_start.get(text[at : at + 2], ()):
                end = at + len(name)
                if text.startswith(name, at) and not _goes_on(text, at) and not _goes_on(text, end):
                    yield at, end, "name"
                    break
                end = at
            at = max(end, at + 1)


_ONE_WORD = re.compile("[ァ-ヴー]{2}|[A-Za-z]{2}")


def _goes_on(text: str, at: int) -> bool:
    """Whether a word of katakana or Latin letters has this place within it."""
    return _ONE_WORD.match(text, at - 1) is not None if 0 < at < len(text) else False


@dataclass(frozen=True, slots=True)
class Masked:
    """What came out, how often each kind was replaced, and which numbers of companies were left."""

    value: Any
    counts: Counter[str]
    kept: Counter[str]

    @property
    def text(self) -> str:
        assert isinstance(self.value, str)
        return self.value


def mask(
    text: str, names: Pseudonyms | None = None, *, words: Sequence[str] = (), label: str = "", also: Known | None = None
) -> Masked:
    """The text with personal data replaced. `words` are a project's own, replaced wherever they stand.

    `label` is what the text is the value of (a column's name, a key); `also` are names found elsewhere.
    """
    names = Pseudonyms() if names is None else names
    counts: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for round_ in range(_ROUNDS if names.style == "pseudonym" else 1):
        spans = _spans(text, words, label if round_ == 0 else "", also or _NOBODY, names)
        if round_ == 0:
            kept.update(kind for _, _, kind in spans if kind in PUBLIC)
        spans = [span for span in spans if span[2] not in PUBLIC]
        if not spans:
            break
        parts, done = [], 0
        for start, end, kind in spans:
            counts[kind] += 1
            parts += [text[done:start], names.of(kind, text[start:end])]
            done = end
        text = "".join(parts) + text[done:]
    return Masked(text, counts, kept)


def mask_values(value: Any, names: Pseudonyms | None = None, *, words: Sequence[str] = ()) -> Masked:
    """A JSON value with every text in it masked, keys and the JSON within texts (arguments of calls) too.

    A name found in one text is replaced in the others. Numbers of nine digits and more are read as texts.
    """
    (masked,), counts, kept = mask_cells([("", value)], names, words=words)
    return Masked(masked, counts, kept)


def mask_cells(
    cells: Sequence[tuple[str, Any]],
    names: Pseudonyms | None = None,
    *,
    words: Sequence[str] = (),
    also: Known | None = None,
) -> tuple[list[Any], Counter[str], Counter[str]]:
    """The values of a row, each given with its column's name, as `mask_values` masks those of a document.

    `also` are the names to look for in every cell; without it, those that are found in one of them.
    """
    names = Pseudonyms() if names is None else names
    also = also or Known(name for label, value in cells for name in names_in(value, label))
    counts: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    return [_walk(value, label, names, words, also, counts, kept) for label, value in cells], counts, kept


_NOBODY = Known()

# Keys of wires and formats: what stands under them is a word of a program, not of a person.
_PLAIN_KEYS = frozenset(("role", "type", "id", "object", "model", "finish_reason", "tool_call_id", "sha256", "dataset"))


def _walk(
    value: Any, label: str, names: Pseudonyms, words: Sequence[str], also: Known, counts: Counter[str],
    kept: Counter[str],
) -> Any:  # fmt: skip
    def masked(text: str, under: str) -> str:
        done = mask(text, names, words=words, label=under, also=also)
        counts.update(done.counts)
        kept.update(done.kept)
        return done.text

    if isinstance(value, str):
        if value[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                inner = None
            if isinstance(inner, dict | list):
                inside = _walk(inner, label, names, words, also, counts, kept)
                return value if inside == inner else json.dumps(inside, ensure_ascii=False)
        return masked(value, label)
    if isinstance(value, dict):
        return {
            masked(key, ""): item if key in _PLAIN_KEYS and isinstance(item, str) and not _DIGITS.search(item)
            else _walk(item, label_of(key, value), names, words, also, counts, kept)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, list):
        return [_walk(item, label, names, words, also, counts, kept) for item in value]
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number and value == int(value) and (abs(value) >= 1e8 or column_kind(label)):
        text = str(int(value))
        done = masked(text, label)
        return value if done == text else done
    return value


_DIGITS = re.compile("[0-9]{7}|@")


def label_of(key: str, beside: Mapping[str, Any]) -> str:
    """The key, where it says whose the value is: the `name` of a function or of a message's writer does not."""
    return "" if key == "name" and beside.keys() & {"parameters", "arguments", "role", "description"} else key


def names_in(value: Any, label: str) -> Iterable[str]:
    """Names anywhere in a document that are long enough to be looked for without what announced them."""
    if isinstance(value, str):
        yield from (value[start:end] for start, end, kind in _spans(value, (), label, _NOBODY, Pseudonyms())
                    if kind == "name" and end - start >= _STRANGE)  # fmt: skip
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from names_in(item, label_of(key, value))
    elif isinstance(value, list):
        for item in value:
            yield from names_in(item, label)


# What a column or key of this name holds, whole. Longer names are not looked into: 担当者メモ is a text.
_COLUMNS = {
    "name": "氏名 名前 お名前 顧客名 お客様名 宛名 宛先 申込者 申込者名 契約者 契約者名 "
    "担当者 担当者名 受取人 患者名 フリガナ ふりがな カナ 氏名カナ 氏名(カナ) 姓 名 name full_name fullname "
    "customer_name first_name last_name customername 顧客氏名 会員名",
    "phone": "電話 電話番号 携帯 携帯番号 携帯電話 tel fax 連絡先電話番号 phone phone_number mobile 自宅電話",
    "email": "メール メールアドレス email e-mail mail mail_address email_address",
    "address": "住所 ご住所 現住所 届け先 届け先住所 お届け先 送付先 address street_address",
    "birthday": "生年月日 誕生日 birthday date_of_birth birth_date dob birthdate",
    MY_NUMBER: "マイナンバー 個人番号 my_number mynumber individual_number",
    "card": "カード番号 クレジットカード番号 card_number",
    "bank-account": "口座番号 account_number 銀行口座 振込口座 iban",
    "driver-licence": "免許証番号 運転免許証番号 免許番号 license_number licence_number",
    "passport": "旅券番号 パスポート番号 passport passport_number",
    "pension": "基礎年金番号 年金番号",
    "health-insurance": "被保険者番号 保険証番号 健康保険証番号 記号番号 被保険者証記号番号",
    "residence-card": "在留カード番号 在留カード residence_card",
}  # fmt: skip
_COLUMN_KIND = {word: kind for kind, listed in _COLUMNS.items() for word in listed.split()}
_NO_ONE = each("- ー なし 無し 未定 不明 n/a na none null 該当なし 同上 様 未登録")


def column_kind(label: str) -> str | None:
    """The kind of personal data that a column or key of this name holds, None where it is no such name."""
    return _COLUMN_KIND.get(pii.same_width(label).strip().lower()) if len(label) <= 24 else None


def _spans(text: str, words: Sequence[str], label: str, also: Known, names: Pseudonyms) -> list[tuple[int, int, str]]:
    whole = column_kind(label) if label else None
    if whole and text.strip() and len(text) <= 200 and "\n" not in text.strip():
        plain = text.strip()
        at = text.index(plain)
        if plain.lower() not in _NO_ONE and plain not in names.known and plain != REMOVED:
            return [(at, at + len(plain), whole)]
        return []
    spans: list[tuple[int, int, str]] = []
    if words:
        folded = pii.same_width(text)
        for word in words:
            pattern = re.compile(re.escape(pii.same_width(word)), re.IGNORECASE)
            spans += [(*m.span(), LISTED) for m in pattern.finditer(folded)]
    before = f"{label}: " if label else ""
    spans += [
        (max(0, one.start - len(before)), one.end - len(before), one.kind)
        for one in pii.find_all(before + text, wary=True)
        if one.end > len(before)
    ]
    spans += also.spans(text)
    kept: list[tuple[int, int, str]] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _as_one(kind: str, value: str) -> str:
    """One spelling of a value for all in which it is written."""
    folded = variants.folded(pii.same_width(value))
    plain = spellings.plain(folded)
    folded = spellings.digits(folded if plain is None else plain[0])
    if kind in ("name", "address"):
        return "".join(folded.split())
    if kind in ("email", LISTED):
        return folded.lower()
    only = re.sub("[^0-9A-Za-z]", "", folded).upper()
    if kind == "phone":
        return re.sub("^(?:00|010)?81(?:0)?(?=[1-9])", "0", only) if len(only) > 10 else only
    return only or folded


_JAPANESE = re.compile("[ぁ-んァ-ヶ一-鿿々\U00020000-\U0002ffff]")


def _pseudonym(kind: str, value: str, number: int) -> str:
    if kind != "name":
        return f"{kind.upper().replace('-', '_')}_{number}"
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"顧客{letters}" if _JAPANESE.search(value) else f"Customer {letters}"
