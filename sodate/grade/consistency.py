"""Whether a model gives the same answer again: drawn several times, among other rows, to the question put otherwise.

    consistency                          three times at temperature 0.7, and once more among other rows
    consistency:times=5,batch=false      five times
    consistency:by=question_id           rows with the same value there ask the same in other words; no model is asked

What "the same" is, `same` says: text (as `equal` folds it), math (the final answers), or a metric of text_similarity,
whose value counts. The score is the mean over all that the reply was compared with. Whether it is right is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr
from sodate.grade import equality, maths
from sodate.grade.base import CannotGradeError, Case, Grade, Grader, Repeats
from sodate.grade.similarity import METRICS
from sodate.grade.strings import clip

SAME = ("text", "math", *METRICS)
Same = Callable[[str, str], float]


def measure(same: str) -> Same:
    """How far two replies are the same, in [0, 1]."""
    if same == "text":
        return lambda left, right: float(equality.equal(left, right) is not None)
    if same == "math":
        return lambda left, right: float(maths.same_answer(left, right))
    return METRICS[same]


def consistency(name: str, repeats: Repeats, by: str, same: str) -> Grader:
    """The grader; `by` is the column that paraphrases of one question share, or ""."""
    like = measure(same)
    asks_again = bool(repeats.times or repeats.batch)

    def many(cases: Sequence[Case]) -> list[Grade]:
        groups: dict[str, list[int]] = {}
        for number, case in enumerate(cases):
            if by and case.item.get(by) is not None:
                groups.setdefault(str(case.item[by]), []).append(number)
        return [_grade(number, cases, groups.get(str(cases[number].item.get(by)), [])) for number in range(len(cases))]

    def _grade(number: int, cases: Sequence[Case], group: Sequence[int]) -> Grade:
        case = cases[number]
        others = {kind: texts for kind, texts in case.again.items() if texts}
        if by:
            paraphrased = tuple(cases[other].reply for other in group if other != number)
            if not paraphrased:
                raise CannotGradeError(number, _alone(by))
            others = {**others, "paraphrase": paraphrased}
        if asks_again and not case.again:
            raise CannotGradeError(number, _once(name))
        parts = {kind: sum(like(case.reply, other) for other in texts) / len(texts) for kind, texts in others.items()}
        compared = [like(case.reply, other) for texts in others.values() for other in texts]
        score = min(1.0, sum(compared) / len(compared))
        if score == 1:
            return Grade(1.0, tr(f"the same {len(compared)} times", f"{len(compared)} 回とも同じ"), parts)
        lowest = min((other for texts in others.values() for other in texts), key=lambda other: like(case.reply, other))
        said = ", ".join(f"{kind} {value:.2f}" for kind, value in parts.items())
        return Grade(score, tr(f"{said}; also “{clip(lowest)}”", f"{said}、「{clip(lowest)}」とも答えた"), parts)

    return Grader(
        name, needs_reference=False, whole=False, many=many, form=True, repeats=repeats if asks_again else None
    )


def _alone(by: str) -> SodateError:
    return SodateError(
        tr(f"no other row has the same {en(by)}, so there is nothing to compare with",
           f"{ja(by)} が同じ行がほかにないため、比べられません"),
        tr("Leave the row out, or give its paraphrases the same value.",
           "行を除くか、言い換えの行に同じ値を付けてください。"),
        code="grader_failed", param="grader",
    )  # fmt: skip


def _once(name: str) -> SodateError:
    return SodateError(
        tr(f"{name} asks the model again, and these replies were made elsewhere",
           f"{name} はモデルに再度問い合わせますが、この返答はほかで作られたものです"),
        tr("With consistency:times=0,batch=false,by=COLUMN no model is asked.",
           "consistency:times=0,batch=false,by=列名 ならモデルを使いません。"),
        code="grader_failed", param="grader",
    )  # fmt: skip
