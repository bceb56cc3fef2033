"""Texts with holes, as OpenAI's graders have them: {{item.a.b[0]}}, {{sample.output_text}}.

What stands in a hole is a namespace and a path in it, nothing else: no filters, no expressions. What is put in is text
and is never read as a template again, so that a reply with braces in it stays a reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from sodate.core.errors import SodateError
from sodate.core.text import tr, written
from sodate.grade.base import Case

SAMPLE = ("output_text", "output_json", "output_tools", "choices", "model")
MAX_TEXT = 4_000_000  # characters of a filled template: a hole is short, and what is put in need not be
_HOLE = re.compile(r"\{\{((?:[^{}]|\{(?!\{)|\}(?!\}))*)\}\}")
_STEP = re.compile(r"""\.([^.\[\]{}\s'"]+)|\[(\d{1,6})\]|\[(?:'([^']*)'|"([^"]*)")\]""")

Path = tuple[str | int, ...]


class BadTemplateError(ValueError):
    """A hole that no row can fill; the message says why."""


class MissingError(SodateError):
    """A hole that this case does not fill. `of` is where it is missing: the row, or what the model said.

    `unreadable`: the reply had to be JSON and is none.
    """

    def __init__(self, of: Literal["item", "sample"], hole: str, unreadable: bool = False) -> None:
        message = (
            tr(f"The reply is not JSON, and {hole} reads it.", f"返答が JSON ではないため {hole} を読めません。")
            if unreadable
            else tr(f"There is no {hole} here.", f"{hole} がありません。")
        )
        super().__init__(message, code="grader_failed", param="grader")
        self.of = of
        self.unreadable = unreadable


def check(template: str) -> None:
    """BadTemplateError for a hole that is no path in `item` or `sample`."""
    for hole in _HOLE.finditer(template):
        _path(hole[1])
    rest = _HOLE.sub("", template)
    if "{{" in rest:
        raise BadTemplateError(tr("{{ is not closed by }}", "{{ が }} で閉じられていません"))


def reads_item(*given: str) -> bool:
    """Whether any of the templates reads the row, and not the reply alone."""
    return any(_path(hole[1])[0] == "item" for template in given for hole in _HOLE.finditer(template))


def render(template: str, case: Case) -> str:
    """The template with what `case` has in its holes: text as it is, all else as JSON. MissingError where it hasn't,
    SodateError where it gets longer than MAX_TEXT characters.
    """
    spaces: dict[str, Mapping[str, Any]] = {"item": item_of(case), "sample": sample_of(case)}
    filled, size, at = [], 0, 0
    for hole in _HOLE.finditer(template):
        filled += [template[at : hole.start()], _text(_found(_path(hole[1]), spaces, hole[0]))]
        size, at = size + len(filled[-2]) + len(filled[-1]), hole.end()
        if size > MAX_TEXT:
            raise SodateError(
                tr(f"A template of a grader gets longer than {MAX_TEXT} characters.",
                   f"採点のテンプレートが {MAX_TEXT} 文字を超えます。"), code="grader_failed", param="grader",
            )  # fmt: skip
    return "".join([*filled, template[at:]])


def item_of(case: Case) -> Mapping[str, Any]:
    """The row as graders see it: its columns, and its right reply under `reference_answer` whatever it came from."""
    if case.references and "reference_answer" not in case.item:
        return {**case.item, "reference_answer": case.references[0]}
    return case.item


def sample_of(case: Case) -> Mapping[str, Any]:
    """What the model said, as OpenAI's graders see it. `output_json` is there where the text is JSON."""
    if case.sample:
        return case.sample
    message = {"role": "assistant", "content": case.reply}
    sample: dict[str, Any] = {"output_text": case.reply, "output_tools": [],
                              "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}  # fmt: skip
    try:
        sample["output_json"] = json.loads(case.reply)
    except (ValueError, RecursionError):
        sample["output_json"] = None
    return sample


def _path(inside: str) -> Path:
    text = inside.strip()
    space = re.match(r"\w*", text)
    assert space is not None
    if space[0] not in ("item", "sample"):
        raise BadTemplateError(
            tr(
                f"{{{{{inside}}}}} is neither in item nor in sample",
                f"{{{{{inside}}}}} は item にも sample にもありません",
            )
        )
    steps: list[str | int] = [space[0]]
    at = space.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise BadTemplateError(
                tr(f"{{{{{inside}}}}} is not a path such as item.a.b[0]",
                   f"{{{{{inside}}}}} は item.a.b[0] のような形ではありません")
            )  # fmt: skip
        name, number, single, double = step.groups()
        steps.append(int(number) if number is not None else next(n for n in (name, single, double) if n is not None))
        at = step.end()
    if len(steps) < 2:
        raise BadTemplateError(
            tr(f"{{{{{inside}}}}} names no variable, as item.answer does",
               f"{{{{{inside}}}}} に item.answer のような変数名がありません")
        )  # fmt: skip
    if steps[0] == "sample" and steps[1] not in SAMPLE:
        raise BadTemplateError(
            tr(
                f"{{{{{inside}}}}}: sample has {', '.join(SAMPLE)}",
                f"{{{{{inside}}}}}: sample にあるのは {', '.join(SAMPLE)}",
            )
        )
    return tuple(steps)


def _found(path: Path, spaces: Mapping[str, Mapping[str, Any]], hole: str) -> Any:
    space, *steps = path
    of: Literal["item", "sample"] = "item" if space == "item" else "sample"
    value: Any = spaces[of]
    if of == "sample" and steps[0] == "output_json" and value.get("output_json") is None:
        raise MissingError(of, hole, unreadable=True)
    for step in steps:
        if isinstance(value, Mapping) and str(step) in value:
            value = value[str(step)]
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            raise MissingError(of, hole)
    return value


def _text(value: Any) -> str:
    """As text that can be written: what JSON in a reply may say is half a surrogate pair, too."""
    return written(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
