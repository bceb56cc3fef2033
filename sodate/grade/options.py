"""What a grader was asked for, in either form: short (`KIND:options`) or an object ({"kind": …, option: value})."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.yaml_files import yaml_value
from sodate.grade.outcome import Judges

FREE: tuple[str, ...] = ()  # an option that takes any text
BOOLEAN = ("false", "true")


@dataclass(frozen=True, slots=True)
class Spec:
    """`name` is what reports call the grader; `rest` is the text after the colon, `members` those of an object.

    `typed`: the object is one of OpenAI's, with `type` instead of `kind`. `judges` are the models that may be asked.
    """

    kind: str
    name: str
    rest: str = ""
    members: Mapping[str, Any] | None = None
    typed: bool = False
    judges: Judges | None = None

    def options(
        self, known: Mapping[str, Sequence[str]], positional: str = "", inline: tuple[type, ...] = ()
    ) -> dict[str, Any]:
        """The options; each must be in `known`, with one of its values unless FREE.

        In the short form the first piece may be the value of `positional` alone, as in `json_schema:schema.json`. In an
        object that value may also be one of the types `inline`, such as the schema itself.
        """
        options: dict[str, Any] = {}
        for name, value in self._given(positional):
            if name not in known:
                raise refused(
                    tr(f"Grader {self.kind!r} has no option {name!r}.",
                       f"採点 {self.kind!r} にオプション {name!r} はありません。"),
                    tr("It takes: ", "使えるもの: ") + (", ".join(known) or tr("none", "なし")),
                )  # fmt: skip
            if name in options:
                raise refused(tr(f"{self.name!r} gives {name} twice.", f"{self.name!r} に {name} が二度あります。"))
            whole = name == positional and isinstance(value, inline)
            if not whole and (not isinstance(value, str) or (known[name] and value not in known[name])):
                raise refused(
                    tr(f"{value!r} is not a value of {name} in {self.name!r}.",
                       f"{self.name!r} の {name} に {value!r} は使えません。"),
                    tr("Use one of: ", "使えるもの: ") + ", ".join(known[name]) if known[name] else "",
                )  # fmt: skip
            options[name] = value
        if positional and options.get(positional) in (None, ""):
            raise refused(
                tr(f"Grader {self.kind!r} needs a {positional}.", f"採点 {self.kind!r} には {positional} が必要です。"),
                tr(f"Write {self.kind}:PATH.", f"{self.kind}:PATH のように書いてください。"),
            )
        return options

    def _given(self, positional: str) -> list[tuple[str, Any]]:
        if self.members is not None:
            return [(name, _plain(value)) for name, value in self.members.items()]
        pairs = []
        for index, piece in enumerate(self.rest.split(",") if self.rest else []):
            name, equals, value = piece.partition("=")
            pairs.append((positional, piece) if not equals and positional and index == 0 else (name.strip(), value))
        return pairs


def read_spec(given: str | Mapping[str, Any]) -> Spec:
    """Either form as a Spec; text that begins with a brace is an object in JSON or YAML. UsageError for neither."""
    if isinstance(given, str) and not given.lstrip().startswith("{"):
        text = given.strip()
        kind, _, rest = text.partition(":")
        return Spec(kind, text, rest)
    read: Any = read_object(given, given) if isinstance(given, str) else given
    named = read.get("kind", read.get("type")) if isinstance(read, Mapping) else None
    if not isinstance(read, Mapping) or not isinstance(named, str):
        raise refused(
            tr(f"The grader {given!r} names no kind.", f"採点 {given!r} に kind がありません。"),
            tr('Write {"kind": "exact"} or exact.', '{"kind": "exact"} か exact のように書いてください。'),
        )
    members = {str(name): value for name, value in read.items() if name not in ("kind", "type", "name")}
    shown = ",".join(f"{name}={_plain(value)}" for name, value in members.items() if not isinstance(value, list | dict))
    name = read.get("name") or named + (f":{shown}" if shown else "")
    return Spec(named, str(name), members=members, typed="kind" not in read)


def read_object(text: str, name: str) -> Any:
    """The value of JSON or YAML text; UsageError, calling it `name`, for text that is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml_value(text)
    except yaml.YAMLError as error:
        raise refused(tr(f"The grader {name!r} can't be read: {error}.",
                         f"採点 {name!r} を読めません: {error}")) from None  # fmt: skip


def _plain(value: Any) -> Any:
    """A value of an object as the short form writes it: true, 0.3."""
    if isinstance(value, bool):
        return BOOLEAN[value]
    return str(value) if isinstance(value, int | float) else value


def refused(message: str, fix: str = "") -> UsageError:
    """A grader that can't be made as it was asked for."""
    return UsageError(message, fix, code="bad_grader", param="grader")
