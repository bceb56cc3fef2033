"""Every reply of a model under one grader; a grader that fails names item, model and grader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr
from sodate.evaluate.items import EvalItem, where
from sodate.grade import CannotGradeError, Grade, Grader, case_of

Again = Mapping[str, tuple[str, ...]]
"""Further replies to one item, by how they came about (`Repeats` in sodate/grade/base.py)."""


def graded(
    grader: Grader,
    replies: Sequence[str],
    items: Sequence[EvalItem],
    model: str,
    unanswered: Mapping[int, str] | None = None,
    again: Sequence[Again] | None = None,
) -> tuple[Grade, ...]:
    """One grade an item, 0 with its reason where there is no reply. A grader that fails is an error that names item,
    model and grader, never a 0. `again` are further replies of the model to each item."""
    none = unanswered or {}
    asked = [number for number in range(len(items)) if number not in none]
    cases = [case_of(replies[n], items[n].reference, items[n].item, items[n].prompt) for n in asked]
    if again is not None:
        cases = [replace(case, again=again[n]) for case, n in zip(cases, asked, strict=True)]
    try:
        made = dict(zip(asked, grader.grade(cases) if cases else [], strict=True))
        return tuple(made[n] if n in made else Grade(0.0, none[n]) for n in range(len(items)))
    except CannotGradeError as error:
        number, why = asked[error.index], error.message
        item = items[number]
        place = where(item, number)
        raise SodateError(
            tr(
                f"{en(place)}: grader {grader.name} failed on the reply of {en(model)}: {en(why)}",
                f"{ja(place)}: {ja(model)} の返答を採点 {grader.name} で採点できません: {ja(why)}",
            ),
            error.fix,
            code="grader_failed",
            param="grader",
            file=item.source.file if item.source else None,
            line=item.source.line if item.source else None,
        ) from error


def with_references(graders: Sequence[Grader], items: Sequence[EvalItem]) -> list[Grader]:
    """The graders that know every reference of the items."""
    references = [one for item in items for one in case_of("", item.reference, item.item).references]
    return [grader.with_references(references) for grader in graders]


def check_references(items: Sequence[EvalItem], graders: Sequence[Grader]) -> None:
    """Raises SodateError for an item that a grader cannot judge. Call it before generating anything."""
    name = tr("the reference", "正解")
    for grader in graders:
        if grader.needs_reference:
            graded(grader, [item.reference or "" for item in items], items, name)
