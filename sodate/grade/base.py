"""The one protocol of graders, for evaluation, rewards and gates: cases in, grades out.

A grader is a name and a pure function. Most judge one reply against one right reply (`function`); what is faster or
only possible for many at once (a program in a sandbox, a model) gives `many`. Several right replies are settled here:
the best grade counts. A user's own grader is `python:FILE`, or a function in a `Grader`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.text import said_by, tr
from sodate.core.types import Message

MORE = "reference_answers"  # a row's further right replies, beside `reference_answer`


@dataclass(frozen=True, slots=True)
class Grade:
    """A score in [0, 1], one sentence that says why, and named part scores (also in [0, 1])."""

    score: float
    reason: str
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # NaN fails both comparisons, so it is refused here too.
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score must lie in [0, 1], not {self.score}")


@dataclass(frozen=True, slots=True)
class Case:
    """One reply to judge. `references` are replies that would be right; `item` is the row's other columns.

    `prompt` and `tools` are what was asked, for graders that read it. `sample` is the reply as OpenAI's graders see it,
    where more is known of it than its text (`sodate/grade/templates.py`). `again` are further replies to the same
    prompt: "times" drawn anew, "batch" made among other rows (`Repeats`).
    """

    reply: str
    references: tuple[str, ...] = ()
    item: Mapping[str, Any] = field(default_factory=dict)
    prompt: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    sample: Mapping[str, Any] = field(default_factory=dict)
    again: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repeats:
    """Further replies that a grader of consistency wants of the model: `times` drawn at `temperature`, and with
    `batch` the greedy one made once more among other rows."""

    times: int = 0
    temperature: float = 0.7
    batch: bool = False


GradeFunction = Callable[[str, str | None, Mapping[str, Any]], Grade]
Many = Callable[[Sequence[Case]], Sequence[Grade]]
Aggregate = Callable[[Sequence[str], Sequence[str | None]], Mapping[str, float]]


class CannotGradeError(SodateError):
    """The case `index` of a batch could not be judged. Never a score of 0: that would say something of the reply."""

    def __init__(self, index: int, why: Exception) -> None:
        known = isinstance(why, SodateError)
        said = said_by(why)
        named = said if known else tr("", "").join([type(why).__name__, ": ", said])
        super().__init__(named, getattr(why, "fix", ""), code="grader_failed", param="grader")
        self.index = index


@dataclass(frozen=True, slots=True)
class Grader:
    """A named grader. `name` is the spec it was made from, so two graders of one kind stay apart.

    `function` judges a reply by one reference (None where none is needed) and the row, or `many` judges a batch.
    `every`: the reply has to hold against each of several references (as "not equal" does), not against any of them.
    `aggregate` gives figures by name that are no mean over items, such as macro-F1, from replies and references.
    `whole` says that a right reply is about as long as its reference; otherwise it may explain itself first.
    `form` says that it looks at how the reply is written, and not at whether it is right.
    `notes` are for the person who grades: what this grader leaves out, or does more strictly than usual.
    `knowing` makes the grader that knows all references it will meet.
    `repeats` are further replies that it looks at. `asks` names the models that it asks; `compares` says that it finds
    the reply better than the reference (1), worse (0) or neither.
    """

    name: str
    function: GradeFunction | None = None
    needs_reference: bool = True
    aggregate: Aggregate | None = None
    whole: bool = True
    notes: tuple[str, ...] = ()
    knowing: Callable[[Sequence[str]], Grader] | None = None
    many: Many | None = None
    every: bool = False
    form: bool = False
    repeats: Repeats | None = None
    asks: tuple[str, ...] = ()
    compares: bool = False

    def with_references(self, references: Sequence[str]) -> Grader:
        """This grader when it knows all references that it will compare with; most graders don't care."""
        return self.knowing(references) if self.knowing else self

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """A grade for each case. Raises CannotGradeError for the first that can't be judged."""
        if self.many is None:
            return [self._one(index, case) for index, case in enumerate(cases)]
        for index, case in enumerate(cases):
            self._references(index, case)
        try:
            return list(self.many(cases))
        except CannotGradeError:
            raise
        except Exception as error:
            for index, case in enumerate(cases):  # which of them it was
                try:
                    self.many([case])
                except Exception as one:
                    raise CannotGradeError(index, one) from one
            raise CannotGradeError(0, error) from error

    def __call__(self, reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        """Judges one reply. Raises SodateError when the item itself cannot be judged, never a silent 0."""
        return self.grade([case_of(reply, reference, item)])[0]

    def _one(self, index: int, case: Case) -> Grade:
        assert self.function is not None
        try:
            grades = [self.function(case.reply, one, case.item) for one in self._references(index, case)]
        except CannotGradeError:
            raise
        except Exception as error:
            raise CannotGradeError(index, error) from error
        return (min if self.every else max)(grades, key=lambda grade: grade.score)

    def _references(self, index: int, case: Case) -> Sequence[str | None]:
        if self.needs_reference and not case.references:
            raise CannotGradeError(index, _no_reference(self.name))
        return case.references or (None,)


def case_of(
    reply: str, reference: str | None, item: Mapping[str, Any],
    prompt: tuple[Message, ...] = (), tools: tuple[Mapping[str, Any], ...] = (),
) -> Case:  # fmt: skip
    """The case of a row: `reference` and what the row calls `reference_answers`, values that are not text as JSON."""
    further = item.get(MORE)
    given = ([] if reference is None else [reference]) + (further if isinstance(further, list) else [])
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in given]
    return Case(reply, tuple(dict.fromkeys(texts)), item, prompt, tools)


def _no_reference(name: str) -> SodateError:
    return SodateError(
        tr(
            f"{name} compares with a reference, and this row has none.",
            f"{name} は正解と比べる採点ですが、この行には正解がありません。",
        ),
        tr(
            "Give the row a reference_answer, end it with an assistant message, or use a grader without one.",
            "行に reference_answer を書くか最後に assistant のメッセージを置いてください。"
            "正解の要らない採点方法も使えます。",
        ),
        code="bad_reference",
    )
