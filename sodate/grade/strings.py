"""Graders that look at the reply as text: exact, string_check, banned_words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sodate.core.text import tr
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.normalise import fold

Operation = Literal["eq", "ne", "like", "ilike"]


def clip(text: str, limit: int = 40) -> str:
    """The start of `text` on one line, for a reason."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def exact(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
    """1 when reply and reference are the same characters; white space around them does not count."""
    if reply.strip() == (reference or "").strip():
        return Grade(1.0, tr("the same text", "完全に一致"))
    return Grade(
        0.0,
        tr(
            f"expected “{clip(reference or '')}”, got “{clip(reply)}”",
            f"正解「{clip(reference or '')}」、返答「{clip(reply)}」",
        ),
    )


def string_check(op: Operation, fixed: str | None) -> GradeFunction:
    """OpenAI's string_check, on the raw characters: equal, not equal, contains the reference, contains it in any case.

    `fixed` is compared with every reply in place of the row's reference.
    """

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = fixed if fixed is not None else reference or ""
        if op in ("eq", "ne"):
            passed = (reply == wanted) == (op == "eq")
        elif op == "like":
            passed = wanted in reply
        else:
            passed = wanted.casefold() in reply.casefold()
        said = tr("holds", "成立") if passed else tr("does not hold", "不成立")
        return Grade(float(passed), f"{op} “{clip(wanted)}”: {said}")

    return grade


def banned_words(words: Sequence[str]) -> GradeFunction:
    """1 when none of `words` is in the reply, else 0. Substrings after folding (`fold`): no tokeniser decides what a
    Japanese word is, so none can hide one. `guarantee` is therefore also found in `guaranteed`.
    """
    folded = [(word, fold(word)) for word in words]

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        text = fold(reply)
        found = [word for word, needle in folded if needle in text]
        if not found:
            return Grade(1.0, tr("no banned word", "禁止語なし"))
        return Grade(0.0, tr("banned: ", "禁止語: ") + ", ".join(found))

    return grade
