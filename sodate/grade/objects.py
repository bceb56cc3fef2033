"""OpenAI's graders as objects, {"type": "string_check", "input": "{{sample.output_text}}", …}: checked and applied.

    string_check      input, reference, operation: eq ne like ilike
    text_similarity   input, reference, evaluation_metric
    python            source with grade(sample, item), run in a sandbox
    score_model       model, input, range, sampling_params: the model gives a number
    label_model       model, input, labels, passing_labels: the model chooses a label
    multi             graders by key, calculate_output: a formula over them

A value is what OpenAI would call the reward: any number for python and multi, a number in `range` for score_model,
else from 0 to 1. As a grader of ours it becomes a score in [0, 1]: a range is scaled to it, other numbers are cut off
at its ends.
"""

from __future__ import annotations

import ast
import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from sodate.core import literals
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.grade import formulas, sandbox, templates
from sodate.grade.asking import Messages, SamplingParams, label, score
from sodate.grade.base import CannotGradeError, Case, Grader
from sodate.grade.outcome import Judges, Outcome, Usage, missed
from sodate.grade.similarity import METRICS, compared
from sodate.grade.strings import clip

MAX_SOURCE = 256_000  # bytes of a python grader
MAX_GRADERS = 50
PYTHON_LIMITS = sandbox.Limits(seconds=120, memory=2 << 30)
Name = Annotated[str, Field(min_length=1, max_length=500)]


def _template(text: str) -> str:
    templates.check(text)
    return text


class Kind(BaseModel):
    """What every kind has. `pass_threshold` is the value from which an eval calls an item passed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    name: Name
    pass_threshold: float | None = None

    def judge(self, cases: Sequence[Case], judges: Judges | None) -> list[Outcome]:
        """An outcome for each case, faults among them; SodateError where a model that is asked is not here."""
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Outcome:
        try:
            return self._value(case)
        except templates.MissingError as missing:
            return missed(missing)

    def _value(self, case: Case) -> Outcome:
        raise NotImplementedError

    def scaled(self, value: float) -> float:
        """The value as a score in [0, 1]."""
        return min(1.0, max(0.0, value))

    @property
    def threshold(self) -> float:
        """Passed from here on, where `pass_threshold` does not say."""
        return 1.0 if self.pass_threshold is None else self.pass_threshold

    @property
    def asks(self) -> tuple[str, ...]:
        """The models that it asks."""
        return ()

    @property
    def form(self) -> bool:
        """Whether it looks at nothing but the reply, so that it can't know whether that is right."""
        return False


class StringCheck(Kind):
    """1 or 0, letter by letter; like: the input contains the reference; ilike: in any case."""

    type: Literal["string_check"]
    input: str
    reference: str
    operation: Literal["eq", "ne", "neq", "like", "ilike"]

    _checked = field_validator("input", "reference")(_template)

    def _value(self, case: Case) -> Outcome:
        said, wanted = templates.render(self.input, case), templates.render(self.reference, case)
        operation = "ne" if self.operation == "neq" else self.operation
        if operation in ("eq", "ne"):
            passed = (said == wanted) == (operation == "eq")
        elif operation == "like":
            passed = wanted in said
        else:
            passed = wanted.casefold() in said.casefold()
        holds = tr("holds", "成立") if passed else tr("does not hold", "不成立")
        return Outcome(float(passed), tr(f"{operation} “{clip(wanted)}”: ", f"{operation}「{clip(wanted)}」: ") + holds)

    @property
    def form(self) -> bool:
        return not templates.reads_item(self.input, self.reference)


class TextSimilarity(Kind):
    """A metric between two texts (`sodate/grade/similarity.py`)."""

    type: Literal["text_similarity"]
    input: str
    reference: str
    evaluation_metric: str

    _checked = field_validator("input", "reference")(_template)

    @field_validator("evaluation_metric")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in METRICS:
            known = ", ".join(METRICS)
            raise ValueError(tr(f"there is no metric of that name (there are: {known})",
                                f"その指標はありません (使えるもの: {known})"))  # fmt: skip
        return value

    def _value(self, case: Case) -> Outcome:
        said, wanted = templates.render(self.input, case), templates.render(self.reference, case)
        grade = compared(self.evaluation_metric, said, wanted)
        return Outcome(grade.score, grade.reason)

    @property
    def form(self) -> bool:
        return not templates.reads_item(self.input, self.reference)


class Python(Kind):
    """grade(sample, item) of a program, in the sandbox, with Python's own library: `image_tag` changes nothing."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None

    @field_validator("source")
    @classmethod
    def _program(cls, value: str) -> str:
        if len(value.encode("utf-8", "surrogatepass")) >= MAX_SOURCE:
            raise ValueError(tr("256 kB or more", "256 kB 以上あります"))
        try:
            tree = literals.parse(value)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ValueError(tr(f"not Python: line {line}: {getattr(error, 'msg', type(error).__name__)}",
                                f"Python として読めません ({line} 行目: {getattr(error, 'msg', type(error).__name__)})")
                             ) from None  # fmt: skip
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= {one.asname or one.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for one in n.names}
        if "grade" not in names:
            raise ValueError(tr("it defines no grade(sample, item)", "grade(sample, item) が定義されていません"))
        return value

    def judge(self, cases: Sequence[Case], judges: Judges | None) -> list[Outcome]:
        return self.within(PYTHON_LIMITS.seconds, cases)

    def within(self, seconds: int, cases: Sequence[Case]) -> list[Outcome]:
        """As `judge`, with so long for each case."""
        limits = replace(PYTHON_LIMITS, seconds=seconds)

        def one(case: Case) -> Outcome:
            try:
                return self._graded(case, limits)
            except templates.MissingError as missing:
                return missed(missing)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(one, cases))

    def _graded(self, case: Case, limits: sandbox.Limits) -> Outcome:
        job = {"grade": [dict(templates.sample_of(case)), dict(templates.item_of(case))]}
        try:
            (answer,) = sandbox.run(self.source, [job], limits)
        except SodateError as error:  # no sandbox on this machine
            return Outcome(0.0, error.message, "python_grader_server_error")
        value = answer.value
        with contextlib.suppress(OverflowError):  # a whole number beyond all floats
            if answer.error is None and isinstance(value, int | float) and math.isfinite(value):
                return Outcome(float(value), f"grade() = {value:g}")
        said = answer.error or tr(f"grade() gave {clip(repr(value))}, which is not a number",
                                  f"grade() の値 {clip(repr(value))} は数ではありません")  # fmt: skip
        return Outcome(0.0, said, "python_grader_runtime_error")

    @property
    def threshold(self) -> float:
        return 0.5 if self.pass_threshold is None else self.pass_threshold


class ScoreModel(Kind):
    """A model gives a number. It is clipped to `range`; a reply without a number is worth 0 and says so."""

    type: Literal["score_model"]
    model: Name
    input: Messages
    range: list[float] = Field([0.0, 1.0], min_length=2, max_length=2)
    sampling_params: SamplingParams | None = None
    engine: str = "torch"

    @field_validator("range")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if not value[0] < value[1]:
            raise ValueError(
                tr("the first number has to be below the second", "1 つ目は 2 つ目より小さい値にしてください")
            )
        return value

    def judge(self, cases: Sequence[Case], judges: Judges | None) -> list[Outcome]:
        span = self.range[0], self.range[1]
        return score(self.model, self.input, span, self.sampling_params, cases, judges, self.engine)

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.model,)

    def scaled(self, value: float) -> float:
        low, high = self.range
        return min(1.0, max(0.0, (value - low) / (high - low)))

    @property
    def threshold(self) -> float:
        return sum(self.range) / 2 if self.pass_threshold is None else self.pass_threshold


class LabelModel(Kind):
    """A model chooses one of `labels`: 1 for one of `passing_labels`, else 0."""

    type: Literal["label_model"]
    model: Name
    input: Messages
    labels: list[Name] = Field(min_length=1, max_length=500)
    passing_labels: list[str] = Field(max_length=500)
    sampling_params: SamplingParams | None = None
    engine: str = "torch"

    @field_validator("passing_labels")
    @classmethod
    def _subset(cls, value: list[str], info: ValidationInfo) -> list[str]:
        strange = [one for one in value if one not in info.data.get("labels", value)]
        if strange:
            raise ValueError(tr(f"passing_labels has {', '.join(strange)}, which labels has not",
                                f"passing_labels の {', '.join(strange)} が labels にありません"))  # fmt: skip
        return value

    def judge(self, cases: Sequence[Case], judges: Judges | None) -> list[Outcome]:
        labels, passing = self.labels, self.passing_labels
        return label(self.model, self.input, labels, passing, self.sampling_params, cases, judges, self.engine)

    @property
    def asks(self) -> tuple[str, ...]:
        return (self.model,)


class Ours(Kind):
    """A grader of sodate's own kinds, by its object form, so that it stands beside OpenAI's."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    type: Literal["sodate"]
    grader: Grader

    def _value(self, case: Case) -> Outcome:
        try:
            (grade,) = self.grader.grade([case])
        except CannotGradeError as error:
            return Outcome(0.0, error.message, "other_error")
        return Outcome(grade.score, grade.reason)

    @property
    def threshold(self) -> float:
        return 0.5

    @property
    def asks(self) -> tuple[str, ...]:
        return self.grader.asks

    @property
    def form(self) -> bool:
        return self.grader.form


class Multi(Kind):
    """A formula over other graders, which may be any but multi. Those that are programs share the time that one has."""

    type: Literal["multi"]
    graders: dict[str, Any]  # of Kind, made by `sodate/grade/reading.py`
    calculate_output: str

    @field_validator("calculate_output")
    @classmethod
    def _formula(cls, value: str, info: ValidationInfo) -> str:
        formulas.read(value, list(info.data.get("graders", ())))
        return value

    def judge(self, cases: Sequence[Case], judges: Judges | None) -> list[Outcome]:
        formula = formulas.read(self.calculate_output, list(self.graders))
        programs = sum(isinstance(grader, Python) for grader in self.graders.values())
        found = {
            key: grader.within(max(1, PYTHON_LIMITS.seconds // programs), cases)
            if isinstance(grader, Python)
            else grader.judge(cases, judges)
            for key, grader in self.graders.items()
        }
        return [_combined(formula, {key: own[i] for key, own in found.items()}) for i in range(len(cases))]

    @property
    def threshold(self) -> float:
        return 0.5 if self.pass_threshold is None else self.pass_threshold

    @property
    def asks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for part in self.graders.values() for model in part.asks))

    @property
    def form(self) -> bool:
        return all(part.form for part in self.graders.values())


def _combined(formula: formulas.Formula, parts: Mapping[str, Outcome]) -> Outcome:
    """The formula's value; the first fault of a part is the whole's, since a 0 in its place would be made up."""
    values = {key: part.value for key, part in parts.items()}
    usage: dict[str, Usage] = {}
    for part in parts.values():
        for model, cost in part.usage.items():
            usage[model] = usage.get(model, Usage()) + cost
    failed = next(((key, part) for key, part in parts.items() if part.fault is not None), None)
    if failed is not None:
        key, part = failed
        return Outcome(0.0, tr(f"{key}: ", f"{key}: ") + part.reason, part.fault, part.in_sample, values, usage)
    try:
        value = formula(values)
    except ArithmeticError as error:
        said = tr(f"calculate_output has no value here: {error}", f"calculate_output の値が求まりません: {error}")
        return Outcome(0.0, said, "other_error", False, values, usage)
    shown = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
    return Outcome(value, f"{value:.3g} ({shown})", None, False, values, usage)
