"""What is wrong with a request, from what the checker of its form says: which field, by the name it has on the wire
(`messages[0].content[1].type`), and a sentence.

Where a value may have several forms, the checker complains once for each of them, under names of its own
(`stop.str`, `stop.list[str]`). Those are put together to what a reader has to know: the field, and what it may be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, en, ja, said_by, tr

Details = Mapping[str, Any]
"""One of pydantic's errors: `loc`, `type`, `msg`, `ctx`."""

MAX_NAME = 200  # characters of a field that is told
_KINDS = {  # what a value may be, by the complaint that it is something else
    "string_type": tr("a string", "文字列"),
    "int_type": tr("a whole number", "整数"),
    "int_from_float": tr("a whole number", "整数"),
    "int_parsing": tr("a whole number", "整数"),
    "float_type": tr("a number", "数値"),
    "float_parsing": tr("a number", "数値"),
    "bool_type": tr("true or false", "true か false"),
    "bool_parsing": tr("true or false", "true か false"),
    "list_type": tr("a list", "リスト"),
    "tuple_type": tr("a list", "リスト"),
    "dict_type": tr("an object", "オブジェクト"),
    "model_type": tr("an object", "オブジェクト"),
    "model_attributes_type": tr("an object", "オブジェクト"),
}
_BOUNDS = {  # what it has to be, with what pydantic tells of the bound
    "greater_than_equal": ("it must be at least {ge}", "{ge} 以上にしてください"),
    "greater_than": ("it must be more than {gt}", "{gt} より大きくしてください"),
    "less_than_equal": ("it must be at most {le}", "{le} 以下にしてください"),
    "less_than": ("it must be less than {lt}", "{lt} より小さくしてください"),
    "finite_number": ("it must be a finite number", "有限の数にしてください"),
    "string_too_short": ("it is shorter than {min_length}", "{min_length} 文字以上にしてください"),
    "string_too_long": ("it is longer than {max_length} characters", "{max_length} 文字以内にしてください"),
    "string_pattern_mismatch": ("it must match {pattern}", "{pattern} に合う文字列にしてください"),
    "too_short": ("it has fewer items than {min_length}", "{min_length} 個以上にしてください"),
    "too_long": ("it has more items than {max_length}", "{max_length} 個以内にしてください"),
    "union_tag_invalid": ("its {discriminator} must be one of {expected_tags}",
                          "{discriminator} は {expected_tags} のいずれかにしてください"),
    "union_tag_not_found": ("its {discriminator} is missing", "{discriminator} がありません"),
}  # fmt: skip


def complaint(errors: Sequence[Details], given: Any, under: str = "") -> tuple[str, str, str | None]:
    """(sentence, code, param) of what is not as it has to be: `given`, or a query where that is None. `under` is the
    name of what holds it. What was given is not repeated.
    """
    told = _told([_Error.of(error, given) for error in errors])
    first = told[0]
    param = ".".join(filter(None, (under, first.place)))[:MAX_NAME] or None
    what = param or tr("the body", "本文")
    if first.details["type"] == "extra_forbidden":
        return tr(f"Unrecognized request argument supplied: {param}",
                  f"知らない引数です: {param}"), "unknown_parameter", param  # fmt: skip
    if first.details["type"] == "missing":
        sentence = tr(f"Missing required parameter: {en(what)}.", f"必須の {ja(what)} がありません。")
        return sentence, "missing_parameter", param
    if first.details["type"] == "json_invalid":
        return tr("The body is not valid JSON.", "本文が正しい JSON ではありません。"), "invalid_json", None
    own = first.details.get("ctx", {}).get("error")
    if isinstance(own, SodateError):
        return own.message, own.code, own.param or param
    if isinstance(own, Exception):
        said = tr(en(said_by(own)), ja(said_by(own)))
        return _wrong(what, said), "invalid_value", param
    return _wrong(what, _said([one.details for one in told])), "invalid_value", param


def in_file(errors: Sequence[Details], given: Any) -> Sentence:
    """The same of a file that a person wrote: its keys are not a request's."""
    said, code, param = complaint(errors, given)
    if param and code == "unknown_parameter":
        return tr(f"Unknown key {param}.", f"知らないキーです: {param}")
    if param and code == "missing_parameter":
        return tr(f"{param} is missing.", f"{param} がありません。")
    if param is None:
        said = reason(errors, given)
        return tr(f"{en(said)[:1].upper()}{en(said)[1:]}.", f"{ja(said)}。")
    return tr(en(said), ja(said))


def _wrong(what: str, said: str) -> Sentence:
    return tr(f"Invalid value for {en(what)}: {en(said)}.", f"{ja(what)} の値が正しくありません: {ja(said)}。")


def reason(errors: Sequence[Details], given: Any) -> Sentence:
    """Only what is wrong with a value, without its name: "it must be a number or 'auto'"."""
    told = _told([_Error.of(error, given) for error in errors])
    own = told[0].details.get("ctx", {}).get("error")  # what a validator of ours said
    if isinstance(own, Exception):
        said = said_by(own)
        return tr(en(said), ja(said))
    return _said([one.details for one in told])


class _Error:
    """A complaint: its place as the wire names it, and the checker's own names on the way there, each with the place
    at which it stands."""

    def __init__(self, details: Details, place: str, forms: tuple[tuple[str, str], ...]) -> None:
        self.details, self.place, self.forms = details, place, forms

    @classmethod
    def of(cls, details: Details, given: Any) -> _Error:
        steps = details["loc"]
        if given is None:
            return cls(details, ".".join(map(str, steps)), ())
        value, place, forms = given, "", list[tuple[str, str]]()
        for number, step in enumerate(steps):
            inside = isinstance(value, Mapping) and step in value and not _names_the_form(value, steps[number:])
            if isinstance(step, int) and isinstance(value, list) and step < len(value):
                value, place = value[step], f"{place}[{step}]"
            elif inside or (details["type"] == "missing" and number == len(steps) - 1):
                value, place = value[step] if inside else None, f"{place}.{step}" if place else str(step)
            else:
                forms.append((place, str(step)))
        return cls(details, place, tuple(forms))


def _names_the_form(value: Mapping[Any, Any], steps: Sequence[Any]) -> bool:
    """Whether the first of the steps is the kind that the value says it is, before the field of the same name:
    {kind: sections, sections: [...]}."""
    return len(steps) > 1 and steps[0] == steps[1] and steps[0] in (value.get("kind"), value.get("type"))


def _told(errors: list[_Error], level: int = 0) -> list[_Error]:
    """The complaints to tell: the first, or of a value that may have several forms those of the form that was meant,
    or all that say that it has none of them. Of forms within forms, those above `level` are decided."""
    first = errors[0]
    if len(first.forms) <= level:
        return [first]
    place = first.forms[level][0]
    by_form: dict[str, list[_Error]] = {}
    for one in errors:
        if len(one.forms) > level and one.forms[level][0] == place:
            by_form.setdefault(one.forms[level][1], []).append(one)
    meant = [own for own in by_form.values() if all(one.place != place for one in own)]
    if not meant:
        return [one for own in by_form.values() for one in own if one.place == place]
    return _told(min(meant, key=lambda own: (len(own), -max(len(one.details["loc"]) for one in own))), level + 1)


def _said(errors: Sequence[Details]) -> Sentence:
    """What a value has to be: within a bound, where it is of a right kind; else one of what it may be."""
    bound = next((one for one in errors if one["type"] in _BOUNDS), None)
    if bound is not None:
        facts = {key: _plain(value) for key, value in bound.get("ctx", {}).items()}  # a finite number has none
        if facts.get("min_length") == 1:
            return tr("it is empty", "空です")
        return tr(*(side.format(**facts) for side in _BOUNDS[bound["type"]]))
    options: list[Sentence] = []
    for one in errors:
        if one["type"] == "literal_error":
            options += [tr(word, word) for word in _words(one["ctx"]["expected"])]
        elif one["type"] in _KINDS:
            options.append(_KINDS[one["type"]])
    if options:
        listed = list(dict.fromkeys(options))
        english = ", ".join(map(en, listed[:-1])) + " or " * (len(listed) > 1) + en(listed[-1])
        many = "、".join(map(ja, listed)) + " のいずれか"
        spaced = [f" {ja(one)} " if ja(one).isascii() else ja(one) for one in listed]
        japanese = "か".join(spaced).lstrip() if len(listed) < 3 else many
        return tr(f"it must be {english}", f"{japanese}にしてください")
    said = str(errors[0]["msg"])
    return tr(said, said)


def _plain(value: Any) -> Any:
    """A bound as people write it: 2 for 2.0, a name without its quotes."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.strip("'") if isinstance(value, str) and value.count("'") == 2 else value


def _words(expected: str) -> list[str]:
    """The values of a Literal as JSON has them, from pydantic's list: 'a', 'b' or 'c'."""
    return [{"True": "true", "False": "false"}.get(word, word) for word in re.split(", | or ", expected)]
